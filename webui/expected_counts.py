"""What an operating point is expected to do among 1,000 images, at a prevalence that the reader knows. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from worker.card.reading import Point

IMAGES = 1_000
USUAL_PER_CENT = 10.0


@dataclass(frozen=True)
class Expected:
    """Of 1,000 images, how many are of which kind; the four add up to 1,000.

    `precision` is the share of pneumonia among those called, `missed_share` that among those left
    alone; both unrounded, None where there are none.
    """

    found: int
    missed: int
    false_alarms: int
    left_alone: int
    precision: float | None
    missed_share: float | None


def expected(point: Point, prevalence: float) -> Expected | None:
    """Count by Bayes' rule from the point's sensitivity and specificity; None if they were not measured.

    Args:
        point: of the card.
        prevalence: share of pneumonia among the images, 0..1.
    """
    if point.sensitivity is None or point.specificity is None:
        return None
    sick, well = prevalence, 1 - prevalence
    called_sick, called_well = sick * point.sensitivity, well * (1 - point.specificity)
    with_pneumonia = round(IMAGES * sick)
    found = round(with_pneumonia * point.sensitivity)
    false_alarms = round((IMAGES - with_pneumonia) * (1 - point.specificity))
    return Expected(
        found=found,
        missed=with_pneumonia - found,
        false_alarms=false_alarms,
        left_alone=IMAGES - with_pneumonia - false_alarms,
        precision=_share(called_sick, called_well),
        missed_share=_share(sick - called_sick, well - called_well),
    )


def per_cent(text: str) -> float:
    """Read a prevalence in per cent, with a point or a comma. Raises ValueError outside 0..100."""
    if not text.strip():
        return USUAL_PER_CENT
    try:
        value = float(text.strip().removesuffix("%").replace(",", "."))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:  # noqa: PLR2004 - per cent; NaN fails this too
        raise ValueError("the prevalence is a number of per cent, from 0 to 100")
    return value


def _share(part: float, rest: float) -> float | None:
    return part / (part + rest) if part + rest > 0 else None
