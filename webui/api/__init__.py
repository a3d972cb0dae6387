"""The API under /api/v1: JSON, the same rules as the pages. Described in openapi.json."""

from webui.api import health, images, reading, runs

BLUEPRINTS = (images.api, reading.api, runs.api, health.api)
