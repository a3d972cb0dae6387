"""Measurements of Nightread's speed and memory. Not in the wheel: they run from a source checkout."""
