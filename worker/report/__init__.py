"""The morning report of a run as text, HTML, CSV or JSON, for the command line, the API and the web interface."""
