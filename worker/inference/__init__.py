"""Inference: turns the bytes of a file into probabilities, an activation map and a verdict."""
