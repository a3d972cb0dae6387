"""How far an image is from the training data, in the features of the network: fitting."""
