"""Model bundles: release, export formats and model card."""
