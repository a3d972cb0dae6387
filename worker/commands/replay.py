"""`nightread replay`: compute a prediction again from the stored bytes and compare it with the record."""

from __future__ import annotations

import hashlib
from typing import Any

from worker.card.identity import network_of
from worker.catalogue import find_bundles, open_scorer_of
from worker.commands import access
from worker.config import Settings
from worker.errors import ModelUnusable, RejectedImage
from worker.imagefile.limits import limits_of
from worker.inference.bundle import Bundle
from worker.inference.film import Box
from worker.inference.preprocess import WHOLE_PICTURE
from worker.ledger.accesses import AccessKind
from worker.ledger.reading_queue import open_image
from worker.ledger.runs import CANARY_RUN
from worker.ledger.session import Ledger
from worker.ledger.states import ImageState
from worker.ledger.tables import Corners, Image, Model, Prediction
from worker.screening import Scorer, population_check
from worker.store import open_store

_NUMBERS = ("p_normal", "p_bacterial", "p_viral", "p_pneumonia")
# The audit trail holds six decimals; further decimals would differ between processors.
_DECIMALS = 6


def replay_image(settings: Settings, ledger: Ledger, image_id: int) -> dict[str, Any]:
    """Return the recorded and the newly computed numbers of an image's prediction, after this view was recorded.

    Raises LookupError if there is no such image or prediction, or if the image cannot be read;
    ModelUnusable if the prediction was made by another model than the one in the settings;
    WrongSettings or TransientFailure if it cannot be recorded: see `worker.commands.access`.
    """
    with ledger.reading() as session:
        image = open_image(session, image_id)
        if image is None:
            raise LookupError(f"There is no image {image_id}.")
        if image.state == ImageState.ERASED:
            raise LookupError(f"Image {image_id} was erased, so its prediction cannot be computed again.")
        if image.bytes_removed_at is not None:
            raise LookupError(
                f"The bytes of image {image_id} are not kept any more: see NIGHTREAD_KEEP_BYTES_DAYS."
            )
        if not image.predictions:
            raise LookupError(f"Image {image_id} is {image.state} and has no prediction.")
        prediction = image.predictions[0]
        model = prediction.model
    access.record(ledger, AccessKind.VIEW, "replay", image_id=image_id)
    return _compare(settings, image, prediction, model)


def as_text(comparison: dict[str, Any]) -> str:
    """Return the comparison as text for people."""
    rows = [
        f"  {name:<12} recorded {comparison['recorded'][name]:.6f}  computed {comparison['computed'][name]:.6f}"
        for name in _NUMBERS
    ]
    answer = "The numbers are the same." if comparison["same"] else "THE NUMBERS DIFFER."
    for name in ("crop", "lungs"):
        parts = [comparison[which][name] for which in ("recorded", "computed")]
        if any(parts):
            rows.append(f"  {name:<12} recorded {_part(parts[0])}  computed {_part(parts[1])}")
    distances = [comparison[which]["distance"] for which in ("recorded", "computed")]
    if distances != [None, None]:
        rows.append(f"  {'distance':<12} recorded {_number(distances[0])}  computed {_number(distances[1])}")
    populations = [comparison[which]["population"] for which in ("recorded", "computed")]
    if populations[0] != populations[1]:
        rows.append(f"  {'population':<12} recorded {populations[0]}  computed {populations[1]}")
    versions = [
        f"  {name}: recorded {recorded}, now {comparison['versions_now'].get(name)}"
        for name, recorded in comparison["versions"].items()
        if recorded != comparison["versions_now"].get(name)
    ]
    title = f"Image {comparison['image']}, model {comparison['model'][:12]}. {answer}"
    return "\n".join([title, *rows, *versions])


def _read(settings: Settings, image: Image) -> bytes:
    """Return the stored bytes. Raises RejectedImage if they are not those that arrived, OSError if they are gone."""
    data = open_store(settings).read(image.sha256)
    if hashlib.sha256(data).hexdigest() != image.sha256:
        raise RejectedImage("changed_in_store")
    return data


def _preprocessing_of(prediction: Prediction) -> str:
    return str(prediction.versions.get("preprocessing", WHOLE_PICTURE))


def _part(corners: Corners | None) -> str:
    return "none" if corners is None else ", ".join(map(str, corners))


def _number(distance: float | None) -> str:
    return "none" if distance is None else f"{distance:.6f}"


def _population(settings: Settings, bundle: Bundle, image: Image) -> str | None:
    """Return where the patient stands by the present card and settings, or the code of a rejection. It changes no number."""
    if image.run.name == CANARY_RUN:
        return None
    try:
        return population_check(settings, bundle).check(image.age_years)
    except RejectedImage as rejected:
        return rejected.code


def _scorer_of(settings: Settings, model: Model) -> Scorer:
    """Load the model of a prediction: its bundle, or one with the same network. Raises ModelUnusable."""
    found = sorted(find_bundles(settings), key=lambda bundle: bundle.problem is not None)
    if any(bundle.sha256 == model.sha256 for bundle in found):
        return open_scorer_of(settings, model.sha256)
    network = network_of(model.sha256, model.card)
    for bundle in found:
        if bundle.sha256 and network_of(bundle.sha256, bundle.card or {}) == network:
            return open_scorer_of(settings, bundle.sha256)
    raise ModelUnusable(
        f"The prediction was made by model {model.name} {model.version} "
        f"({model.sha256[:12]}). Set NIGHTREAD_MODEL to the folder of this model, or put it into {settings.models_path}."
    )


def _compare(settings: Settings, image: Image, prediction: Prediction, model: Model) -> dict[str, Any]:
    scorer = _scorer_of(settings, model)
    try:
        data = _read(settings, image)
        prepared = scorer.prepare_again(data, limits_of(settings), _preprocessing_of(prediction))
    except (RejectedImage, OSError) as error:
        raise LookupError(f"Image {image.id} can no longer be read: {error}") from error
    result = scorer.score([prepared])[0]
    recorded = {name: round(getattr(prediction, name), _DECIMALS) for name in _NUMBERS}
    computed = {name: round(getattr(result, name), _DECIMALS) for name in _NUMBERS}
    population = _population(settings, scorer.bundle, image)
    crop, lungs = _corners(prepared.admitted.crop), _corners(prepared.admitted.lungs)
    return {
        "image": image.id,
        "model": model.sha256,
        "same": recorded == computed
        and (prediction.crop, prediction.lungs, prediction.distance) == (crop, lungs, result.distance),
        "recorded": recorded
        | {"crop": prediction.crop, "lungs": prediction.lungs, "population": prediction.population}
        | {"distance": prediction.distance},
        "computed": computed
        | {"crop": crop, "lungs": lungs, "population": population, "distance": result.distance},
        "versions": prediction.versions,
        "versions_now": scorer.versions,
    }


def _corners(part: Box | None) -> Corners | None:
    return None if part is None else part.corners
