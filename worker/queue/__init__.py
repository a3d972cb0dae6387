"""What waits: Celery carries ids of pending images; the ledger, not the broker, is the truth."""
