"""The ledger: receipts, images, predictions, readings and the audit trail in one database.

Functions here take a SQLAlchemy session from `Ledger.transaction()` (to write) or `Ledger.reading()` (to
read). None of them commits: the caller owns the transaction.
"""
