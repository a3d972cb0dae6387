"""Two models on the same read images of this site: the content of page and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker.card.band import is_never_clear
from worker.ledger import missed_cases, read_cases, thresholds
from worker.ledger.findings import Finding
from worker.ledger.missed_cases import CLEAR, Extent
from worker.ledger.models import latest_point
from worker.ledger.shadows import SCORED
from worker.ledger.tables import Model, Prediction, ShadowPrediction
from worker.ledger.thresholds import Point
from worker.report.agreement import Estimate
from worker.report.paired import Compared, Pair, PairedFigures, Stratum, compare

# Figures of fewer images are not shown: they would say little, and could be traced to single readings.
SMALLEST = 10


@dataclass(frozen=True)
class Side:
    """A model of the comparison, and the operating point that its verdicts follow here.

    `is_of_site`: the site has this point in force for it; else it is the one of the settings, the default of the card, or, of a
    card without points, the one of the latest prediction. `has_groups`: images of some groups follow other points here, and
    are compared at this one all the same.
    """

    model: Model
    point: Point
    is_of_site: bool
    has_groups: bool = False


@dataclass(frozen=True)
class Discordant:
    """An image that only one of both models would have a person read."""

    image_id: int
    finding: str
    score_a: float
    score_b: float
    verdict_a: str
    verdict_b: str


@dataclass(frozen=True)
class ModelComparison:
    """Two models on the same images.

    Attributes:
        a, b: the models.
        extent: which runs count.
        pairs: images with a final reading that says with signs or without, and a score of both.
        sampled: of these, images that were drawn from the clear ones.
        without_a, without_b: read images that a model has not scored.
        rejected_a, rejected_b: read images that a model rejected as a candidate.
        not_judged: images with a score of both that cannot be judged.
        clear: clear images of the runs, for which the sample stands.
        figures: None for fewer than `SMALLEST` pairs.
        discordant: images on which the models differ, those with signs first.
    """

    a: Side
    b: Side
    extent: Extent
    pairs: int
    sampled: int
    without_a: int
    without_b: int
    rejected_a: int
    rejected_b: int
    not_judged: int
    clear: int
    figures: PairedFigures | None
    discordant: Sequence[Discordant]


@dataclass(frozen=True)
class _Score:
    """The score of a model for an image, None if it rejected the image, and what else its verdict depends on."""

    p_pneumonia: float | None
    cropped: bool
    population: str | None
    distance: float | None


def version(session: Session) -> tuple[int, ...]:
    """Return numbers of which one is another once a reading or a score changes what two models say of the read images."""
    shadowed = session.scalar(select(func.max(ShadowPrediction.id))) or 0
    return *read_cases.version(session), shadowed


def model_comparison(session: Session, side_a: Side, side_b: Side, extent: Extent) -> ModelComparison:
    """Compare two models on the images that people have read to the end in the runs of an extent."""
    a, b = side_a.model, side_b.model
    runs = list(extent.runs)
    readings = missed_cases.final_readings(session, runs)
    counted = missed_cases.read(session, runs)
    ids = [row.image_id for row in readings]
    scores_a, scores_b = _scores(session, a, ids), _scores(session, b, ids)
    pairs, discordant, not_judged = [], [], 0
    for row in readings:
        of_a, of_b = scores_a.get(row.image_id), scores_b.get(row.image_id)
        if of_a is None or of_b is None or of_a.p_pneumonia is None or of_b.p_pneumonia is None:
            continue
        if row.finding not in (Finding.SIGNS, Finding.NO_SIGNS):
            not_judged += 1
            continue
        verdict_a, verdict_b = _verdict(side_a, of_a), _verdict(side_b, of_b)
        stratum = Stratum.SAMPLE if row.verdict == CLEAR else Stratum.SHOWN
        pair = Pair(stratum, row.finding == Finding.SIGNS, verdict_a != CLEAR, verdict_b != CLEAR)
        pairs.append(pair)
        if pair.a != pair.b:
            discordant.append(
                Discordant(
                    row.image_id, row.finding, of_a.p_pneumonia, of_b.p_pneumonia, verdict_a, verdict_b
                )
            )
    return ModelComparison(
        side_a,
        side_b,
        extent,
        pairs=len(pairs),
        sampled=sum(pair.stratum is Stratum.SAMPLE for pair in pairs),
        without_a=len(ids) - len(scores_a),
        without_b=len(ids) - len(scores_b),
        rejected_a=sum(score.p_pneumonia is None for score in scores_a.values()),
        rejected_b=sum(score.p_pneumonia is None for score in scores_b.values()),
        not_judged=not_judged,
        clear=counted.clear,
        figures=compare(pairs, counted.shown.read, counted.clear) if len(pairs) >= SMALLEST else None,
        discordant=sorted(discordant, key=lambda one: (one.finding != Finding.SIGNS, one.image_id)),
    )


def as_csv(compared: ModelComparison) -> str:
    """Return the figures as a table: one figure a line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["figure", "model", "value", "low", "high", "images", "only_a_right", "only_b_right", "why_not"]
    )
    if compared.figures is not None:
        for name in ("sensitivity", "specificity"):
            writer.writerows(_lines(name, compared, getattr(compared.figures, name)))
    return text.getvalue()


def _lines(name: str, compared: ModelComparison, figures: Compared) -> Iterator[list[object]]:
    sides = (
        (compared.a.model.sha256, figures.a),
        (compared.b.model.sha256, figures.b),
        ("difference b - a", figures.difference),
    )
    for model, estimate in sides:
        yield [
            name,
            model,
            *_numbers(estimate),
            figures.images,
            figures.only_a,
            figures.only_b,
            estimate.why_not,
        ]


def _numbers(estimate: Estimate) -> list[str]:
    found = asdict(estimate)
    return ["" if found[name] is None else f"{found[name]:.6f}" for name in ("value", "low", "high")]


def side(session: Session, model: Model, named: str) -> Side:
    """Return the model with the operating point to compare it at.

    `named` is the setting NIGHTREAD_OPERATING_POINT. Raises ValueError if the model has no operating point.
    """
    plan = thresholds.plan(session, model.sha256)
    has_groups = bool(plan.groups)
    if plan.general is not None and plan.general.point is not None:
        return Side(model, plan.general.point, is_of_site=True, has_groups=has_groups)
    for name in dict.fromkeys((named, "")):
        try:
            point = thresholds.without_site(model, name)
            return Side(model, point, is_of_site=False, has_groups=has_groups)
        except LookupError:
            continue
    # The card has no points: the worker registered the one that it used.
    row = latest_point(session, model)
    if row is not None:
        point = Point(row.name, row.threshold, row.band_low, row.band_high)
        return Side(model, point, is_of_site=False, has_groups=has_groups)
    raise ValueError(
        f"the card of {model.name} {model.version} has no operating point, so it has no verdicts"
    )


def _verdict(side: Side, score: _Score) -> str:
    never_clear = is_never_clear(score.population, score.distance)
    return side.point.bounds.verdict(score.p_pneumonia or 0.0, cropped=score.cropped, never_clear=never_clear)


def _scores(session: Session, model: Model, image_ids: Sequence[int]) -> Mapping[int, _Score]:
    """Return the scores of a model, by image: those of its predictions, else those that it gave as a candidate."""
    wanted = set(image_ids)
    if not wanted:
        return {}
    low, high = min(wanted), max(wanted)
    columns = ShadowPrediction.image_id, ShadowPrediction.outcome, ShadowPrediction.p_pneumonia
    others = ShadowPrediction.cropped, ShadowPrediction.population, ShadowPrediction.distance
    shadowed = select(*columns, *others).where(
        ShadowPrediction.model_id == model.id, ShadowPrediction.image_id.between(low, high)
    )
    found = {
        row.image_id: _Score(
            row.p_pneumonia if row.outcome == SCORED else None, row.cropped, row.population, row.distance
        )
        for row in session.execute(shadowed)
        if row.image_id in wanted
    }
    predicted = select(
        Prediction.image_id,
        Prediction.p_pneumonia,
        Prediction.crop_left,
        Prediction.population,
        Prediction.distance,
    ).where(Prediction.model_id == model.id, Prediction.image_id.in_(image_ids))
    for row in session.execute(predicted):
        found[row.image_id] = _Score(row.p_pneumonia, row.crop_left is not None, row.population, row.distance)
    return found
