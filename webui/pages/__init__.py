"""The pages, one blueprint each."""

from webui.pages import images, models, queue, reader, runs, status, turned_away, upload, viewer

BLUEPRINTS = (
    queue.pages,
    viewer.pages,
    upload.pages,
    runs.pages,
    turned_away.pages,
    models.pages,
    reader.pages,
    status.pages,
    images.pages,
)
