"""Recalibrates the scores of a model to one site, and measures on held-out images whether that helps. Pure."""
