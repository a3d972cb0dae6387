"""JPEG and PNG files: their parts, the limits that they must keep, and the mark that says PHANTOM."""
