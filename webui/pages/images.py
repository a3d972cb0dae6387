"""The pictures of an image: its renditions and its activation map; and its original, as a download.

The URL of a picture carries the first digits of the image's SHA-256 as `v`. A browser may therefore cache the
picture forever: the image of another ledger with the same id has another URL.
"""

from __future__ import annotations

import hashlib
from io import BufferedReader

from flask import Blueprint, Response, abort, current_app, request, send_file, url_for
from flask.typing import ResponseReturnValue

from webui import activation_picture
from webui.dependencies import dependencies
from worker.ledger.reading_queue import open_image
from worker.ledger.states import ImageState
from worker.ledger.tables import Image, Prediction
from worker.renditions.bounded import NoRendition
from worker.renditions.pack import Kind, Rendition

pages = Blueprint("images", __name__)

_ONE_YEAR_S = 31_536_000
_VERSION_DIGITS = 16
_ENDINGS = {"jpeg": "jpg", "png": "png", "png16": "png"}


@pages.app_template_global()
def image_url(image: Image, kind: str) -> str:
    """Return the URL of an image's `picture`, `thumb`, `preview`, `activation` or `outline`."""
    return url_for(f"images.{kind}", image_id=image.id, v=image.sha256[:_VERSION_DIGITS])


@pages.get("/images/<id:image_id>/picture")
def picture(image_id: int) -> ResponseReturnValue:
    """Send the full rendition, or a sentence that says why there is none."""
    try:
        return _rendition(dependencies().renditions.get(_image(image_id).sha256, Kind.FULL))
    except NoRendition as failure:
        status, headers = (404, {}) if failure.lasting else (503, {"Retry-After": "5"})
        return Response(failure.sentence, status, headers, mimetype="text/plain")


@pages.get("/images/<id:image_id>/thumb.jpg")
def thumb(image_id: int) -> ResponseReturnValue:
    """Send a thumbnail for lists."""
    return _small(image_id, Kind.THUMBNAIL)


@pages.get("/images/<id:image_id>/preview.jpg")
def preview(image_id: int) -> ResponseReturnValue:
    """Send a rendition for images without a score."""
    return _small(image_id, Kind.PREVIEW)


@pages.get("/images/<id:image_id>/original")
def original(image_id: int) -> ResponseReturnValue:
    """Send the stored bytes as a download, after their hash was checked. A rejected file is never sent."""
    image = _image(image_id)
    if image.format not in _ENDINGS or image.state == ImageState.REJECTED:
        abort(404, "This file was rejected, so its original cannot be downloaded.")
    try:
        file = dependencies().store.path(image.sha256).open("rb")
    except OSError:
        abort(404, "The image store does not have this file.")
    _check_hash(file, image.sha256)
    # No part of this file may be shown by a browser: it is as it was sent, with its metadata.
    response = send_file(
        file,
        mimetype="application/octet-stream",
        as_attachment=True,
        download_name=f"image-{image.id}.{_ENDINGS[image.format]}",
        conditional=False,
    )
    response.headers["Cache-Control"] = "no-store"
    return response


@pages.get("/images/<id:image_id>/map.png")
def activation(image_id: int) -> ResponseReturnValue:
    """Send the activation map in the aspect ratio of the image, over the part that was scored."""
    image, prediction = _scored(image_id)
    data = activation_picture.map_png(
        prediction.activation,
        prediction.map_height,
        prediction.map_width,
        _upright_size(image),
        prediction.crop,
    )
    return _of_prediction(data, "image/png")


@pages.get("/images/<id:image_id>/outline.svg")
def outline(image_id: int) -> ResponseReturnValue:
    """Send the outline of the part that was scored, in the aspect ratio of the image."""
    image, prediction = _scored(image_id)
    if prediction.crop is None:
        abort(404, "The whole image was scored.")
    return _of_prediction(
        activation_picture.outline_svg(prediction.crop, _upright_size(image)), "image/svg+xml"
    )


@pages.get("/images/scale.png")
def scale() -> ResponseReturnValue:
    """Send the colour scale of the activation map, weak to strong."""
    response = Response(activation_picture.scale_png(), mimetype="image/png")
    response.headers["Cache-Control"] = "private, max-age=3600"
    return response


def _scored(image_id: int) -> tuple[Image, Prediction]:
    """Return an image and its prediction in force. Answers 404 if it has none."""
    with dependencies().ledger.reading() as session:
        image = open_image(session, image_id)
    if image is None or image.prediction is None:
        abort(404, "This image has no score.")
    return image, image.prediction


def _upright_size(image: Image) -> tuple[int, int]:
    try:
        facts = dependencies().renditions.get(image.sha256, Kind.FULL).facts
    except NoRendition:
        return image.width or 1, image.height or 1
    return facts.width, facts.height


def _of_prediction(data: bytes, mimetype: str) -> Response:
    response = Response(data, mimetype=mimetype)
    # Another model may score the image again, so the browser must revalidate.
    response.headers["Cache-Control"] = "private, no-cache"
    response.set_etag(hashlib.sha256(data).hexdigest())
    response.make_conditional(request)
    return response


def _small(image_id: int, kind: Kind) -> ResponseReturnValue:
    try:
        return _rendition(dependencies().renditions.get(_image(image_id).sha256, kind))
    except NoRendition:
        response = current_app.send_static_file("no-preview.svg")
        response.headers["Cache-Control"] = "no-store"
        return response


def _rendition(rendition: Rendition) -> Response:
    response = Response(rendition.data, mimetype=rendition.content_type)
    response.set_etag(rendition.sha256)
    response.make_conditional(request)
    return _cached(response)


def _check_hash(file: BufferedReader, sha256: str) -> None:
    if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
        file.close()
        abort(409, "The stored bytes have changed since the file arrived. Check the disk of the image store.")
    file.seek(0)


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
