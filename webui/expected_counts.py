"""The results to expect of an operating point among 1,000 images, at a given prevalence. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from worker.card.at_threshold import at_threshold
from worker.card.reading import Point
from worker.card.schema import Card
from worker.card.text import title

IMAGES = 1_000
DEFAULT_PREVALENCE_PER_CENT = 10.0


@dataclass(frozen=True)
class ExpectedCounts:
    """The confusion matrix of 1,000 images. The four counts add up to 1,000.

    `precision` is the share of pneumonia among the positives, `false_omission_rate` among the negatives.
    Both are not rounded, and None without positives or negatives.
    """

    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int
    precision: float | None
    false_omission_rate: float | None


def expected_counts(point: Point, prevalence: float) -> ExpectedCounts | None:
    """Apply Bayes' rule to the point's sensitivity and specificity; None if they were not measured.

    Args:
        point: an operating point of the card.
        prevalence: the share of images with pneumonia, 0..1.
    """
    if point.sensitivity is None or point.specificity is None:
        return None
    true_positive_share = prevalence * point.sensitivity
    false_positive_share = (1 - prevalence) * (1 - point.specificity)
    with_pneumonia = round(IMAGES * prevalence)
    true_positives = round(with_pneumonia * point.sensitivity)
    false_positives = round((IMAGES - with_pneumonia) * (1 - point.specificity))
    return ExpectedCounts(
        true_positives=true_positives,
        false_negatives=with_pneumonia - true_positives,
        false_positives=false_positives,
        true_negatives=IMAGES - with_pneumonia - false_positives,
        precision=_share(true_positive_share, false_positive_share),
        false_omission_rate=_share(prevalence - true_positive_share, 1 - prevalence - false_positive_share),
    )


@dataclass(frozen=True)
class ExpectedClear:
    """The clear images among 1,000, which no queue shows: the least and the most, by a curve of the card.

    Attributes:
        curve: title of the set of images that the curve was made from.
        with_pneumonia, sick: clear images with pneumonia, and all images with pneumonia.
        without_pneumonia, well: the same without pneumonia.
    """

    curve: str
    with_pneumonia: tuple[int, int]
    sick: int
    without_pneumonia: tuple[int, int]
    well: int


def expected_clear(card: Card, band_low: float, prevalence: float) -> ExpectedClear | None:
    """Apply the card's first curve to the lower end of a band; None if no curve states its thresholds.

    Args:
        card: of the model.
        band_low: the score below which images are clear.
        prevalence: the share of images with pneumonia, 0..1.
    """
    curves = at_threshold(card, band_low, prevalence)
    if not curves:
        return None
    found, sick = curves[0], round(IMAGES * prevalence)
    not_clear, clear, well = found.sensitivity.ends, found.specificity.ends, IMAGES - sick
    return ExpectedClear(
        title(found.name),
        (sick - round(sick * not_clear[1]), sick - round(sick * not_clear[0])),
        sick,
        (round(well * clear[0]), round(well * clear[1])),
        well,
    )


def prevalence_per_cent(text: str) -> float:
    """Read a prevalence in per cent, with a decimal point or comma. Raises ValueError outside 0..100."""
    if not text.strip():
        return DEFAULT_PREVALENCE_PER_CENT
    try:
        value = float(text.strip().removesuffix("%").replace(",", "."))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:  # noqa: PLR2004 - per cent; NaN fails this too
        raise ValueError("the prevalence must be a percentage from 0 to 100")
    return value


def _share(part: float, rest: float) -> float | None:
    return part / (part + rest) if part + rest > 0 else None
