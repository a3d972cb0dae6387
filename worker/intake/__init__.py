"""What arrives: files are looked at, hashed, stored and recorded here, and never queued."""
