"""What a data set is, before anything is trained on it."""
