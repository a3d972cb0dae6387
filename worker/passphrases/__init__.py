"""Passphrases: which are refused, and how they are stored. It knows neither the ledger nor the settings."""
