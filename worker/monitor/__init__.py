"""Says how well the model works at this site, and what has changed. Pure: counts in, figures and sentences out."""
