"""Fits the distance from the training data, in the features of the network."""
