"""What is computed: from a file's bytes to probabilities, an activation map and a verdict."""
