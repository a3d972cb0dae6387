"""The pages, one blueprint each."""

from webui.pages import images, models, queue, reader, rejected, rescored, runs, status, upload, viewer

BLUEPRINTS = (
    queue.pages,
    viewer.pages,
    upload.pages,
    runs.pages,
    rejected.pages,
    rescored.pages,
    models.pages,
    reader.pages,
    status.pages,
    images.pages,
)
