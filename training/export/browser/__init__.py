"""A folder that scores images in a browser alone: the page, its scripts, and the export that writes the folder."""
