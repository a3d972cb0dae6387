"""The image files: as stored, as thumbnail and preview, and the activation map.

The URL of an image file carries the first digits of its SHA-256 as `v`. A browser may therefore cache the
file forever: the image of another ledger with the same id has another URL.
"""

from __future__ import annotations

import hashlib

from flask import Blueprint, Response, abort, current_app, request, send_file, url_for
from flask.typing import ResponseReturnValue

from webui import image_rendering
from webui.dependencies import dependencies
from worker.ledger.reading_queue import open_image
from worker.ledger.states import ImageState
from worker.ledger.tables import Image

pages = Blueprint("images", __name__)

_CONTENT_TYPES = {"jpeg": "image/jpeg", "png": "image/png"}
_ONE_YEAR_S = 31_536_000
_VERSION_DIGITS = 16


@pages.app_template_global()
def image_url(image: Image, kind: str) -> str:
    """Return the URL of an image's `picture`, `thumb`, `preview` or `activation`."""
    return url_for(f"images.{kind}", image_id=image.id, v=image.sha256[:_VERSION_DIGITS])


@pages.get("/images/<id:image_id>/picture")
def picture(image_id: int) -> ResponseReturnValue:
    """Send the stored bytes. The bytes of a rejected file are never sent: see `preview`."""
    image = _image(image_id)
    content_type = _CONTENT_TYPES.get(image.format or "")
    if content_type is None or image.state == ImageState.REJECTED:
        abort(404, "This file was rejected. Only a preview is available.")
    try:
        path = dependencies().store.path(image.sha256)
    except FileNotFoundError:
        abort(404, "The image store does not have this file.")
    response = send_file(path, mimetype=content_type, etag=image.sha256, max_age=_ONE_YEAR_S)
    return _cached(response)


@pages.get("/images/<id:image_id>/thumb.jpg")
def thumb(image_id: int) -> ResponseReturnValue:
    """Send a thumbnail for lists."""
    return _small(image_id, image_rendering.THUMBNAIL_SIDE)


@pages.get("/images/<id:image_id>/preview.jpg")
def preview(image_id: int) -> ResponseReturnValue:
    """Send a newly encoded copy, so that no byte of a harmful file reaches the browser."""
    return _small(image_id, image_rendering.PREVIEW_SIDE)


@pages.get("/images/<id:image_id>/map.png")
def activation(image_id: int) -> ResponseReturnValue:
    """Send the activation map in the aspect ratio of the image."""
    with dependencies().ledger.reading() as session:
        image = open_image(session, image_id)
    if image is None or not image.predictions:
        abort(404, "This image has not been scored.")
    prediction = image.predictions[0]
    try:
        size = image_rendering.upright_size(dependencies().store.path(image.sha256))
    except OSError:
        size = (image.width or 1, image.height or 1)
    data = image_rendering.map_png(prediction.activation, prediction.map_height, prediction.map_width, size)
    response = Response(data, mimetype="image/png")
    # Another model may score the image again, so the browser must revalidate.
    response.headers["Cache-Control"] = "private, no-cache"
    response.set_etag(hashlib.sha256(data).hexdigest())
    response.make_conditional(request)
    return response


@pages.get("/images/scale.png")
def scale() -> ResponseReturnValue:
    """Send the colour scale of the activation map, weak to strong."""
    response = Response(image_rendering.scale_png(), mimetype="image/png")
    response.headers["Cache-Control"] = "private, max-age=3600"
    return response


def _small(image_id: int, side: int) -> ResponseReturnValue:
    image = _image(image_id)
    try:
        path = dependencies().store.path(image.sha256)
        data = image_rendering.small_jpeg(path, side, dependencies().settings.max_pixels)
    except (FileNotFoundError, image_rendering.NoPreview):
        return current_app.send_static_file("no-preview.svg")
    response = Response(data, mimetype="image/jpeg")
    response.set_etag(f"{image.sha256}-{side}")
    response.make_conditional(request)
    return _cached(response)


def _image(image_id: int) -> Image:
    """Return the image, if its hash starts with the URL's `v`. Answers 404 otherwise."""
    with dependencies().ledger.reading() as session:
        image = session.get(Image, image_id)
    version = request.args.get("v")
    if image is None or (version is not None and not image.sha256.startswith(version)):
        abort(404, f"There is no image {image_id} with this SHA-256.")
    return image


def _cached(response: Response) -> Response:
    for_ever = f"private, max-age={_ONE_YEAR_S}, immutable"
    response.headers["Cache-Control"] = for_ever if request.args.get("v") else "private, no-cache"
    return response
