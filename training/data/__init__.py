"""Radiographs and their variants: lists, patients, folds, pixels."""
