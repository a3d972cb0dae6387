"""The application that Nightread replaces: its network, trained, timed and measured as it was."""
