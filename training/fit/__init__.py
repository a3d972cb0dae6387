"""Training: the weights of one network, and of one network per fold."""
