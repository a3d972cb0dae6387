"""Model bundles: export formats, release and model card."""
