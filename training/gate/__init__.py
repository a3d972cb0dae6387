"""The gate: a small network that recognises frontal chest radiographs."""
