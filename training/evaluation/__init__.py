"""Evaluation of a model on labelled images: metrics with intervals, as text, as JSON and as an HTML report."""
