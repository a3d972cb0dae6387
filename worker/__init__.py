"""The engine of Nightread: from a file to a recorded prediction."""

__version__ = "0.3.0"

DISCLAIMER = "For research and education only. Not a medical device; never a diagnosis."
