"""The gate: what it learns from, how it is made, and what it is worth."""
