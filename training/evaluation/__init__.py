"""What a model is worth on labelled images: figures with intervals, in a terminal, as JSON, as a page."""
