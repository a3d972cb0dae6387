"""The lung network: finds the lungs in a film, from masks that people drew."""
