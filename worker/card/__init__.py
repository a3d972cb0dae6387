"""The model card, card.json of a bundle: its schema, how it is read, and how it reads as text."""
