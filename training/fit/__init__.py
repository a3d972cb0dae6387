"""Training of one network, and of one network for each fold."""
