"""Draws a bundle for people: its networks, and its answers to a few images."""
