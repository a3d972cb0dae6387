"""Probabilities and operating points from out-of-fold scores."""
