"""What is known: receipts, images, predictions, reviews and the audit trail.

Functions here take a SQLAlchemy session of `Ledger.transaction()` (to write) or
`Ledger.reading()` (to read); none of them commits.
"""
