"""Renditions: the pictures that people look at, made once from each stored file in a bounded process."""
