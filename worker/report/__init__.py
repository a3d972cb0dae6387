"""The morning report of a run, as text, HTML, CSV or JSON; for the command, the API and the page."""
