"""Network architectures and pretrained weights."""
