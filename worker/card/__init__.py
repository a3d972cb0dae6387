"""The model card (card.json of a model bundle): schema, loading, content and text."""
