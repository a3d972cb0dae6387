"""The pictures themselves: as stored, small, and where the network responded.

A picture's URL carries the start of its SHA-256 as `v`: what a browser keeps for ever is
then never another ledger's picture under the same id.
"""

from __future__ import annotations

import hashlib

from flask import Blueprint, Response, abort, current_app, request, send_file, url_for
from flask.typing import ResponseReturnValue

from webui import image_rendering
from webui.dependencies import dependencies
from worker.ledger.review import open_image
from worker.ledger.states import ImageState
from worker.ledger.tables import Image

pages = Blueprint("images", __name__)

_CONTENT_TYPES = {"jpeg": "image/jpeg", "png": "image/png"}
_FOR_EVER_S = 31_536_000
_VERSION_LENGTH = 16


@pages.app_template_global()
def image_url(image: Image, kind: str) -> str:
    """The URL of an image's `picture`, `thumb`, `preview` or `activation`."""
    return url_for(f"images.{kind}", image_id=image.id, v=image.sha256[:_VERSION_LENGTH])


@pages.get("/images/<key:image_id>/picture")
def picture(image_id: int) -> ResponseReturnValue:
    """The stored bytes. Never those of a file that was turned away: see `preview`."""
    image = _image(image_id)
    content_type = _CONTENT_TYPES.get(image.format or "")
    if content_type is None or image.state == ImageState.REJECTED:
        abort(404, "This file was turned away; there is only a preview.")
    try:
        path = dependencies().store.path(image.sha256)
    except FileNotFoundError:
        abort(404, "The store no longer has this picture.")
    response = send_file(path, mimetype=content_type, etag=image.sha256, max_age=_FOR_EVER_S)
    return _kept(response)


@pages.get("/images/<key:image_id>/thumb.jpg")
def thumb(image_id: int) -> ResponseReturnValue:
    """A small picture for lists."""
    return _small(image_id, image_rendering.THUMBNAIL_SIDE)


@pages.get("/images/<key:image_id>/preview.jpg")
def preview(image_id: int) -> ResponseReturnValue:
    """A picture encoded anew, so that nothing of a strange file reaches the browser."""
    return _small(image_id, image_rendering.PREVIEW_SIDE)


@pages.get("/images/<key:image_id>/map.png")
def activation(image_id: int) -> ResponseReturnValue:
    """Where the network responded, in the shape of the picture."""
    with dependencies().ledger.reading() as session:
        image = open_image(session, image_id)
    if image is None or not image.predictions:
        abort(404, "This image has not been scored.")
    prediction = image.predictions[0]
    try:
        shown = image_rendering.upright_size(dependencies().store.path(image.sha256))
    except OSError:
        shown = (image.width or 1, image.height or 1)
    data = image_rendering.map_png(prediction.activation, prediction.map_height, prediction.map_width, shown)
    response = Response(data, mimetype="image/png")
    # Another model may score the image again, so the browser asks each time.
    response.headers["Cache-Control"] = "private, no-cache"
    response.set_etag(hashlib.sha256(data).hexdigest())
    response.make_conditional(request)
    return response


@pages.get("/images/scale.png")
def scale() -> ResponseReturnValue:
    """The map's colours, weak to strong."""
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
    return _kept(response)


def _image(image_id: int) -> Image:
    """The image, if it is the one that the URL's `v` means."""
    with dependencies().ledger.reading() as session:
        image = session.get(Image, image_id)
    wanted = request.args.get("v")
    if image is None or (wanted is not None and not image.sha256.startswith(wanted)):
        abort(404, f"There is no such image {image_id}.")
    return image


def _kept(response: Response) -> Response:
    forever = f"private, max-age={_FOR_EVER_S}, immutable"
    response.headers["Cache-Control"] = forever if request.args.get("v") else "private, no-cache"
    return response
