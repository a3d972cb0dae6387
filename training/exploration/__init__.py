"""Exploration of a data set before training: copies, shortcuts, patients, damaged files."""
