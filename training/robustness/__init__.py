"""Measures what changes of a picture do to a model's answers."""
