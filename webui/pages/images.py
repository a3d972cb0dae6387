"""The pictures of an image: its renditions and its activation map; and its original, as a download.

The URL of a picture carries the first digits of the image's SHA-256 as `v`, so that an old page never shows the image of
another ledger with the same id. No browser keeps a picture: every response is `no-store`, but for the colour scale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from typing import Any

from flask import Blueprint, Response, abort, current_app, jsonify, request, send_file, url_for
from flask.typing import ResponseReturnValue

from webui import activation_picture
from webui.access.on_record import record, record_picture
from webui.access.permissions import Permission, needs
from webui.actions import MAX_REASON, cleaned_text
from webui.blinding import blinding
from webui.dependencies import dependencies
from webui.grey_scale import described, measured_at
from webui.parameters import bad_request_on_value_error
from worker.dicom.facts import GreyFacts
from worker.ledger.accesses import AccessKind
from worker.ledger.reading_queue import open_image
from worker.ledger.states import ImageState
from worker.ledger.tables import Image, Prediction
from worker.renditions.bounded import NoRendition
from worker.renditions.pack import Kind, Rendition

pages = Blueprint("images", __name__)

_VERSION_DIGITS = 16
_ENDINGS = {"jpeg": "jpg", "png": "png", "png16": "png", "dicom": "dcm"}
# These have more than 8 bits: window and level need the values themselves.
_DEEP_FORMATS = frozenset({"dicom", "png16"})


@pages.app_template_test("deep")
def is_deep(image: Image) -> bool:
    """Return whether an image has more than 8 bits, so that the viewer has window and level."""
    return image.format in _DEEP_FORMATS


@pages.app_template_filter()
def grey_scale(greyscale: dict[str, Any]) -> str:
    """Say how the grey values of a scored DICOM object were made."""
    return described(GreyFacts.from_dict(greyscale))


@pages.app_template_global()
def image_url(image: Image, kind: str) -> str:
    """Return the URL of an image's `picture`, `values`, `grey`, `thumb`, `preview`, `activation` or `outline`."""
    return url_for(f"images.{kind}", image_id=image.id, v=image.sha256[:_VERSION_DIGITS])


@pages.get("/images/<id:image_id>/picture")
@needs(Permission.IMAGES)
def picture(image_id: int) -> ResponseReturnValue:
    """Send the full rendition, or a sentence that says why there is none."""
    with _no_rendition_answered():
        rendition = dependencies().renditions.get(_image(image_id).sha256, Kind.FULL)
    record_picture(image_id, "picture")
    return _rendition(rendition)


@pages.get("/images/<id:image_id>/values.png")
@needs(Permission.IMAGES)
def values(image_id: int) -> ResponseReturnValue:
    """Send the values of an image that has more than 8 bits, in two colours (`Kind.VALUES`)."""
    with _no_rendition_answered():
        rendition = dependencies().renditions.get(_deep_image(image_id).sha256, Kind.VALUES)
    record_picture(image_id, "values")
    return _rendition(rendition)


@pages.get("/images/<id:image_id>/grey.json")
@needs(Permission.IMAGES)
def grey(image_id: int) -> ResponseReturnValue:
    """Send the grey scale of an image that has more than 8 bits, its size in pixels, and what to say about it."""
    with _no_rendition_answered():
        facts = dependencies().renditions.get(_deep_image(image_id).sha256, Kind.THUMBNAIL).facts
    scale = GreyFacts.from_dict(facts.grey or {})
    shown = {
        "width": facts.width,
        "height": facts.height,
        "grey": facts.grey,
        "text": described(scale),
        "measured_at": measured_at(scale.spacing) if scale.spacing else None,
    }
    return jsonify(shown)


@pages.get("/images/<id:image_id>/thumb.jpg")
@needs(Permission.IMAGES)
def thumb(image_id: int) -> ResponseReturnValue:
    """Send a thumbnail for lists."""
    return _small(image_id, Kind.THUMBNAIL)


@pages.get("/images/<id:image_id>/preview.jpg")
@needs(Permission.IMAGES)
def preview(image_id: int) -> ResponseReturnValue:
    """Send a rendition for images without a score."""
    return _small(image_id, Kind.PREVIEW, viewed_as="preview")


@pages.post("/images/<id:image_id>/original")
@needs(Permission.ORIGINALS)
def original(image_id: int) -> ResponseReturnValue:
    """Send the stored bytes as a download, with a reason, after their hash was checked. A rejected file is never sent."""
    with bad_request_on_value_error():
        reason = cleaned_text(request.form.get("reason", ""), MAX_REASON)
    if not reason:
        abort(400, "Give a reason for the download. Nightread records it.")
    image = _image(image_id)
    if image.format not in _ENDINGS or image.state == ImageState.REJECTED:
        abort(404, "This file was rejected, so its original cannot be downloaded.")
    try:
        file = dependencies().store.path(image.sha256).open("rb")
    except OSError:
        abort(404, "The image store does not have this file.")
    _check_hash(file, image.sha256)
    record(AccessKind.ORIGINAL, image.format, image_id=image_id, reason=reason)
    # No part of this file may be shown by a browser: it is as it was sent, with its metadata.
    return send_file(
        file,
        mimetype="application/octet-stream",
        as_attachment=True,
        download_name=f"image-{image.id}.{_ENDINGS[image.format]}",
        conditional=False,
    )


@pages.get("/images/<id:image_id>/map.png")
@needs(Permission.IMAGES)
def activation(image_id: int) -> ResponseReturnValue:
    """Send the activation map in the aspect ratio of the image, over the film."""
    image, prediction = _scored(image_id)
    with dependencies().ledger.reading() as session:
        if blinding(session, [image]).hides_map(image):
            abort(403, "You see the map when you have read this image.")
    data = activation_picture.map_png(
        prediction.activation,
        prediction.map_height,
        prediction.map_width,
        _upright_size(image),
        prediction.crop,
    )
    return Response(data, mimetype="image/png")


@pages.get("/images/<id:image_id>/outline.svg")
@needs(Permission.IMAGES)
def outline(image_id: int) -> ResponseReturnValue:
    """Send the outline of the part that was scored, in the aspect ratio of the image."""
    image, prediction = _scored(image_id)
    if prediction.seen is None:
        abort(404, "The whole image was scored.")
    data = activation_picture.outline_svg(prediction.seen, _upright_size(image))
    return Response(data, mimetype="image/svg+xml")


@pages.get("/images/scale.png")
@needs(Permission.IMAGES)
def scale() -> ResponseReturnValue:
    """Send the colour scale of the activation map, weak to strong."""
    response = Response(activation_picture.scale_png(), mimetype="image/png")
    response.headers["Cache-Control"] = "max-age=3600"
    return response


def _scored(image_id: int) -> tuple[Image, Prediction]:
    """Return an image and its prediction in force. Answers 404 if it has none."""
    with dependencies().ledger.reading() as session:
        image = open_image(session, image_id)
    _check_erased(image)
    if image is None or image.prediction is None:
        abort(404, "This image has no score.")
    return image, image.prediction


def _check_erased(image: Image | None) -> None:
    """Answer 410 for an image that was erased, or whose time is over: what it showed is gone for good."""
    if image is not None and image.state == ImageState.ERASED:
        abort(410, f"Image {image.id} was erased.")
    if image is not None and image.bytes_removed_at is not None:
        abort(410, f"The picture of image {image.id} is not kept any more.")


def _upright_size(image: Image) -> tuple[int, int]:
    try:
        facts = dependencies().renditions.get(image.sha256, Kind.FULL).facts
    except NoRendition:
        return image.width or 1, image.height or 1
    return facts.width, facts.height


def _small(image_id: int, kind: Kind, viewed_as: str = "") -> ResponseReturnValue:
    """Send a small rendition, or a drawing that says that there is none. With `viewed_as`, a rendition is a view."""
    try:
        rendition = dependencies().renditions.get(_image(image_id).sha256, kind)
    except NoRendition:
        return current_app.send_static_file("no-preview.svg")
    if viewed_as:
        record_picture(image_id, viewed_as)
    return _rendition(rendition)


def _rendition(rendition: Rendition) -> Response:
    return Response(rendition.data, mimetype=rendition.content_type)


@contextmanager
def _no_rendition_answered() -> Iterator[None]:
    """Answer with the sentence if a rendition cannot be made: 503 if another try may succeed, else 404."""
    try:
        yield
    except NoRendition as failure:
        status, headers = (404, {}) if failure.lasting else (503, {"Retry-After": "5"})
        abort(Response(failure.sentence, status, headers, mimetype="text/plain"))


def _deep_image(image_id: int) -> Image:
    """Return the image like `_image`. Answers 404 if it has 8 bits."""
    image = _image(image_id)
    if image.format not in _DEEP_FORMATS:
        abort(404, f"Image {image_id} has 8 bits: its picture has all its values.")
    return image


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
    _check_erased(image)
    return image
