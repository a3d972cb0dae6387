"""Measures the calibration of a site on simulated hospitals: `python -m bench.site_calibrations [HOSPITALS]`.

Each hospital has scores whose log-odds are shifted and stretched by known numbers, reads all images that are not clear and a
sample of the clear ones, and fits. Counted is how often the intervals hold the truth, and how often a recalibration is
claimed to help.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import click
import numpy as np

from worker.recalibration.held_out import CannotFit, Fit, LabelledScore, Verdict, fit_site

# The truth of the hospitals: the log-odds of signs are this shift plus this slope times the log-odds of the score.
INTERCEPT, SLOPE = -1.2, 0.7
# Images below this score are clear.
CLEAR_BELOW = 0.4
_SIZES = (300, 600, 1_200)
# New images that tell the true figures.
_NEW = 20_000


def simulated(
    images: int, seed: int = 1, *, intercept: float = INTERCEPT, slope: float = SLOPE, drawn: float = 0.2
) -> tuple[list[LabelledScore], int]:
    """Return the read images of a site, and how many clear images it has. `drawn` is the share of them that was drawn."""
    generator = np.random.default_rng(seed)
    log_odds = generator.normal(0, 2, images)
    scores = 1 / (1 + np.exp(-log_odds))
    signs = generator.random(images) < 1 / (1 + np.exp(-(intercept + slope * log_odds)))
    clear = scores < CLEAR_BELOW
    read = ~clear | (generator.random(images) < drawn)
    weight = int(clear.sum()) / max(1, int((clear & read).sum()))
    cases = [
        LabelledScore(
            f"{number:064x}",
            float(scores[number]),
            bool(signs[number]),
            float(weight) if clear[number] else 1.0,
            bool(clear[number]),
        )
        for number in np.flatnonzero(read)
    ]
    return cases, int(clear.sum())


@dataclass(frozen=True)
class Measured:
    """Counts over simulated hospitals of one size.

    Attributes:
        fitted: hospitals in which there was enough to fit.
        intercept, slope: the share whose interval holds the truth.
        difference: the share whose interval of the difference of the Brier score holds that of new images.
        verdicts: how many were better, the same, or worse on held-out images.
    """

    fitted: int
    intercept: float
    slope: float
    difference: float
    verdicts: dict[str, int]


def measure(images: int, hospitals: int, *, intercept: float, slope: float) -> Measured:
    """Fit many hospitals of one size."""
    unseen, _ = simulated(_NEW, 10**6, intercept=intercept, slope=slope, drawn=1.0)
    scores, signs = (
        np.array([float(getattr(case, name)) for case in unseen]) for name in ("score", "has_signs")
    )
    fits = [fit for seed in range(hospitals) if (fit := _fit(images, seed, intercept, slope))]
    covered = Counter[str]()
    for fit in fits:
        after = np.array([fit.recalibration.probability(score) for score in scores])
        truth = {
            "intercept": (fit.intercept, intercept),
            "slope": (fit.slope, slope),
            "difference": (
                fit.held_out.brier.difference,
                float(((after - signs) ** 2 - (scores - signs) ** 2).mean()),
            ),
        }
        covered.update(
            name for name, (interval, true) in truth.items() if interval.low <= true <= interval.high
        )
    shares = {name: covered[name] / max(1, len(fits)) for name in ("intercept", "slope", "difference")}
    verdicts = Counter(fit.held_out.verdict.value for fit in fits)
    return Measured(len(fits), **shares, verdicts={each.value: verdicts[each.value] for each in Verdict})


def _fit(images: int, seed: int, intercept: float, slope: float) -> Fit | None:
    try:
        return fit_site(*simulated(images, seed, intercept=intercept, slope=slope))
    except CannotFit:
        return None


@click.command()
@click.argument("hospitals", type=click.IntRange(min=1), default=400)
def main(hospitals: int) -> None:
    """Measure hospitals whose scores are wrong, and hospitals whose scores are right already."""
    for intercept, slope in ((INTERCEPT, SLOPE), (0.0, 1.0)):
        for images in _SIZES:
            measured = measure(images, hospitals, intercept=intercept, slope=slope)
            click.echo(f"intercept {intercept:g}, slope {slope:g}, {images} images: {measured}")


if __name__ == "__main__":
    main()
