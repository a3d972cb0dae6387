"""JPEG and PNG files: their parts, their limits, and the mark of a phantom in their header."""
