"""Splits that hurt: the held-out images differ from the training images on purpose."""
