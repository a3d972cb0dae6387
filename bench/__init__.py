"""Measures Nightread's speed and memory. Not in the wheel: it runs from a source checkout."""
