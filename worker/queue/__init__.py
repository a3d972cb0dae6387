"""The queue: Celery carries the ids of pending images. The ledger is the truth, not the broker."""
