"""The API under /api/v1: JSON, the same rules as the pages. Described in openapi.json."""

from webui.api import health, images, models, reading, runs

BLUEPRINTS = (images.api, reading.api, runs.api, models.api, health.api)
