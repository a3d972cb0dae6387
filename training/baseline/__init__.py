"""The application that Nightread replaces, trained, timed and measured as it was."""
