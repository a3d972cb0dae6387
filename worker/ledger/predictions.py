"""Predictions: register models and operating points, record scores and rejections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random
from typing import Any

from sqlalchemy import Row, exists, insert, select, update
from sqlalchemy.orm import Session

from worker.card.band import Bounds, is_never_clear
from worker.ledger import actors, audit, draws, rechecks, thresholds
from worker.ledger.group_traits import traits_of
from worker.ledger.point_groups import Traits
from worker.ledger.states import NEEDS_READING, NOT_READ, ImageState, ReviewState, check_transition
from worker.ledger.tables import Image, Model, OperatingPointRow, Prediction
from worker.ledger.trail_facts import CROP, LUNGS


@dataclass(frozen=True)
class ScoringModel:
    """The ledger's ids of the model and the operating point that a worker scores with."""

    model_id: int
    model_sha256: str
    operating_point_id: int
    operating_point: str


@dataclass(frozen=True)
class ImageFacts:
    """Facts that the worker read from the file. The intake records none of them for a file that it rejects."""

    format: str
    width: int
    height: int


@dataclass(frozen=True)
class Part:
    """A part of an image, in pixels of the upright original: left <= x < right and top <= y < bottom."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class ScoreRecord:
    """The result of one image: three probabilities in [0, 1] that sum to 1, and the activation map.

    `activation` holds `map_height` x `map_width` bytes, row by row. `compute_ms` is in milliseconds. `crop` is the film;
    without it, the whole image was scored. `lungs` is the part of the film that the network saw; without it, all of it.
    `population` is a value of `worker.card.population.Population`; None: nobody was checked. `greyscale` is as in
    `Prediction`, and so is `distance`. `operating_point_id` is the point of the site that the verdict follows; None: that of the worker's model.
    `point_group` is the group that has this point; None: the general point. `canary` says that Nightread sent the image to
    test itself: it is clear at every point.
    """

    image_id: int
    p_normal: float
    p_bacterial: float
    p_viral: float
    p_pneumonia: float
    confidence: float
    verdict: str
    activation: bytes
    map_height: int
    map_width: int
    compute_ms: float
    facts: ImageFacts
    crop: Part | None = None
    lungs: Part | None = None
    population: str | None = None
    greyscale: Mapping[str, object] | None = None
    distance: float | None = None
    operating_point_id: int | None = None
    point_group: str | None = None
    canary: bool = False


@dataclass(frozen=True)
class RejectionRecord:
    """One image that must not be scored: the code of the reason and its sentence."""

    image_id: int
    code: str
    reason: str


def register_model(
    session: Session,
    *,
    sha256: str,
    name: str,
    version: str,
    card: dict[str, Any],
    point: Mapping[str, float],
    point_name: str,
    at: datetime,
) -> ScoringModel:
    """Register a bundle and its operating point unless they are known; `point` has threshold and band.

    A model that is known with another card gets this one: what the card says to people may change.
    """
    audit.lock(session)
    events = []
    card_sha256 = audit.digest(audit.canonical(card))
    model = session.scalars(select(Model).where(Model.sha256 == sha256)).one_or_none()
    if model is None:
        model = Model(sha256=sha256, name=name, version=version, card=card, active_since=at)
        session.add(model)
        session.flush()
        details = {"sha256": sha256, "name": name, "version": version, "card_sha256": card_sha256}
        events.append(audit.Event("model_registered", actors.PROGRAM, f"model:{model.id}", details))
    elif audit.digest(audit.canonical(model.card)) != card_sha256:
        model.card = card
        replaced: dict[str, object] = {"card_sha256": card_sha256}
        events.append(audit.Event("card_replaced", actors.PROGRAM, f"model:{model.id}", replaced))
    audit.append(session, events, at)
    of_card = thresholds.Point(point_name, **point)
    point_id = thresholds.row_of(session, model, of_card, who=actors.PROGRAM, at=at)
    return ScoringModel(model.id, sha256, point_id, point_name)


def follow_site(
    session: Session, model: ScoringModel, scored: Sequence[ScoreRecord]
) -> Sequence[ScoreRecord]:
    """Return results at the operating points that the site has in force for this model and their groups; else as they are.

    It locks the audit trail, so no other point can be put in force before the results are recorded.
    """
    audit.lock(session)
    plan = thresholds.plan(session, model.model_sha256)
    if not plan.groups and plan.general is None:
        return scored
    traits = traits_of(session, [result.image_id for result in scored]) if plan.groups else {}
    return [_following(plan.setting_for(traits.get(result.image_id, Traits())), result) for result in scored]


def _following(setting: thresholds.Setting | None, result: ScoreRecord) -> ScoreRecord:
    """Return a result with the verdict of the point that is in force for its image."""
    if setting is None or setting.point is None:
        return result
    return replace(
        result,
        verdict=_verdict(setting.point.bounds, result),
        operating_point_id=setting.operating_point_id,
        point_group=setting.group.key if setting.group else None,
    )


def record(
    session: Session,
    *,
    owner: str,
    model: ScoringModel,
    scored: Sequence[ScoreRecord],
    rejected: Sequence[RejectionRecord],
    started_at: datetime,
    at: datetime,
    versions: Mapping[str, str],
    random: Random | None = None,
) -> int:
    """Record the results of a chunk and return the number of recorded images.

    With `random`, images are drawn to be read without their scores: see `worker.ledger.draws`.

    An image whose lease `owner` no longer holds is left to the worker that holds it now. An image that this model
    scored before keeps its last prediction.
    """
    audit.lock(session)
    ids = [result.image_id for result in scored] + [rejection.image_id for rejection in rejected]
    still_leased = _still_leased(session, ids, owner, model.model_id)
    kept_rejections = [rejection for rejection in rejected if rejection.image_id in still_leased]
    kept_scores = [result for result in scored if still_leased.get(result.image_id) is False]
    restored = [result for result in scored if still_leased.get(result.image_id)]
    _leave_lease(session, ImageState.REJECTED, map(_rejected_columns, kept_rejections))
    verdicts = {result.image_id: result.verdict for result in kept_scores}
    drawn = draws.draw(session, verdicts, random) if random else {}
    _leave_lease(session, ImageState.SCORED, (_scored_columns(result, drawn, at) for result in kept_scores))
    if kept_scores:
        rows = [_prediction_row(result, owner, model, started_at, at, versions) for result in kept_scores]
        session.execute(insert(Prediction), rows)
    events = [
        *map(_rejected_event, kept_rejections),
        *(_scored_event(result, model, versions, drawn.get(result.image_id)) for result in kept_scores),
        *(_restore(session, result, model) for result in restored),
    ]
    audit.append(session, events, at)
    return len(events)


def unread_since(session: Session, since: datetime, limit: int) -> Sequence[Row[str, datetime]]:
    """Return `sha256` and `finished_at` of flagged and uncertain images that nobody has read, the earliest first."""
    return session.execute(
        select(Image.sha256, Prediction.finished_at)
        .join(Prediction, Prediction.image_id == Image.id)
        .where(
            Prediction.finished_at >= since,
            Image.review_state.in_(NOT_READ),
            Image.verdict.in_(NEEDS_READING),
        )
        .order_by(Prediction.finished_at, Prediction.id)
        .limit(limit)
    ).all()


def _still_leased(session: Session, ids: Sequence[int], owner: str, model_id: int) -> dict[int, bool]:
    """Return the images that `owner` still holds, and whether this model has scored them before."""
    by_this_model = exists().where(Prediction.image_id == Image.id, Prediction.model_id == model_id)
    leased = Image.id.in_(ids), Image.state == ImageState.LEASED, Image.lease_owner == owner
    return {row[0]: bool(row[1]) for row in session.execute(select(Image.id, by_this_model).where(*leased))}


def _verdict(bounds: Bounds, result: ScoreRecord) -> str:
    if result.canary:
        return result.verdict
    never_clear = is_never_clear(result.population, result.distance)
    return bounds.verdict(result.p_pneumonia, cropped=result.crop is not None, never_clear=never_clear)


def _restore(session: Session, result: ScoreRecord, model: ScoringModel) -> audit.Event:
    """Give an image its last prediction again, with the verdict of the operating point in force for it.

    Only a change back to an earlier model leads here.
    """
    image_id = result.image_id
    last = session.scalars(
        select(Prediction).where(Prediction.image_id == image_id).order_by(Prediction.id.desc()).limit(1)
    ).one()
    details: dict[str, object] = {"model": session.get_one(Model, last.model_id).sha256}
    verdict, other_point, group = last.verdict, None, None
    now = _point_id(result, model), result.point_group
    if last.model_id == model.model_id and (last.operating_point_id, last.point_group) != now:
        other_point, group = now
        point = session.get_one(OperatingPointRow, other_point)
        never_clear = is_never_clear(last.population, last.distance)
        bounds = Bounds.of_band(point.band_low, point.band_high)
        if not result.canary:
            verdict = bounds.verdict(last.p_pneumonia, cropped=last.crop is not None, never_clear=never_clear)
        details |= {"verdict": verdict, "operating_point": other_point, **_group_detail(group)}
    columns = {
        "id": image_id,
        "verdict": verdict,
        "operating_point_id": other_point,
        "point_group": group,
        "p_pneumonia": last.p_pneumonia,
        "population": last.population,
        "distance": last.distance,
        "scored_at": last.finished_at,
        "compute_ms": last.compute_ms,
        "review_state": ReviewState.UNREAD,
        "drawn_rank": None,
    }
    _leave_lease(session, ImageState.SCORED, [columns])
    # The newer preprocessing may be in use again one day.
    rechecks.check_again(session, last.model_id, last.id)
    return audit.Event("restored", actors.PROGRAM, f"image:{image_id}", details)


def _point_id(result: ScoreRecord, model: ScoringModel) -> int:
    return result.operating_point_id or model.operating_point_id


def _group_detail(group: str | None) -> dict[str, str]:
    """Return what the event of an image says of its group; nothing for the general point."""
    return {} if group is None else {"point_group": group}


def _prediction_row(
    result: ScoreRecord,
    owner: str,
    model: ScoringModel,
    started_at: datetime,
    at: datetime,
    versions: Mapping[str, str],
) -> dict[str, object]:
    return {
        **{name: value for name, value in vars(result).items() if name not in {"facts", "crop", "lungs"}},
        **_part_columns(CROP, result.crop),
        **_part_columns(LUNGS, result.lungs),
        "model_id": model.model_id,
        "operating_point_id": _point_id(result, model),
        "started_at": started_at,
        "finished_at": at,
        "worker": owner,
        "versions": dict(versions),
    }


def _part_columns(names: Sequence[str], part: Part | None) -> dict[str, int | None]:
    if part is None:
        return dict.fromkeys(names)
    return dict(zip(names, (part.left, part.top, part.right, part.bottom), strict=True))


def _scored_columns(result: ScoreRecord, drawn: Mapping[int, float], at: datetime) -> dict[str, object]:
    """Return the columns that change in the row of a scored image."""
    drawn_rank = drawn.get(result.image_id)
    return {
        "id": result.image_id,
        "verdict": result.verdict,
        "p_pneumonia": result.p_pneumonia,
        "population": result.population,
        "distance": result.distance,
        "scored_at": at,
        "compute_ms": result.compute_ms,
        "review_state": ReviewState.UNREAD if drawn_rank is None else ReviewState.DRAWN,
        "drawn_rank": drawn_rank,
        "operating_point_id": None,
        "point_group": None,
        **vars(result.facts),
    }


def _scored_event(
    result: ScoreRecord, model: ScoringModel, versions: Mapping[str, str], drawn_rank: float | None
) -> audit.Event:
    details = {
        **vars(result.facts),
        "model": model.model_sha256,
        "operating_point": _point_id(result, model),
        **_group_detail(result.point_group),
        "verdict": result.verdict,
        "p_normal": result.p_normal,
        "p_bacterial": result.p_bacterial,
        "p_viral": result.p_viral,
        "p_pneumonia": result.p_pneumonia,
        "confidence": result.confidence,
        "activation_sha256": audit.digest_bytes(result.activation),
        "versions_sha256": audit.digest(audit.canonical(versions)),
        **_part_columns(CROP, result.crop),
        **({} if result.lungs is None else _part_columns(LUNGS, result.lungs)),
        "population": result.population,
        **({} if result.distance is None else {"distance": result.distance}),
        **_greyscale_hash(result),
        **({} if drawn_rank is None else {"drawn_rank": drawn_rank}),
    }
    return audit.Event("scored", actors.PROGRAM, f"image:{result.image_id}", details)


def _greyscale_hash(result: ScoreRecord) -> dict[str, str]:
    """Return the hash that the event holds; nothing for a file that holds the grey values themselves."""
    if result.greyscale is None:
        return {}
    return {"greyscale_sha256": audit.digest(audit.canonical(result.greyscale))}


def _rejected_columns(rejection: RejectionRecord) -> dict[str, object]:
    return {"id": rejection.image_id, "reason_code": rejection.code, "reason": rejection.reason}


def _rejected_event(rejection: RejectionRecord) -> audit.Event:
    details = {"reason": rejection.code, "reason_sha256": audit.digest(rejection.reason)}
    return audit.Event("rejected", actors.PROGRAM, f"image:{rejection.image_id}", details)


def _leave_lease(session: Session, after: ImageState, images: Iterable[dict[str, object]]) -> None:
    """Update all leased images in one statement, by primary key: loading them first took twice as long."""
    check_transition(ImageState.LEASED, after)
    rows = [{**columns, "state": after, "lease_owner": None, "lease_until": None} for columns in images]
    if rows:
        session.execute(update(Image), rows)
