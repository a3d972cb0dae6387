"""The API under /api/v1: JSON, with the same rules as the pages. openapi.json describes it."""

from webui.api import agreement, health, images, models, monitor, reading, rescored, runs

BLUEPRINTS = (
    images.api,
    reading.api,
    rescored.api,
    runs.api,
    agreement.api,
    monitor.api,
    models.api,
    health.api,
)
