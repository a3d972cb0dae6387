"""The calibration of a site: from its read cases to what is put on record, and to what it says of a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from sqlalchemy.orm import Session

from worker.card.reading import operating_points
from worker.card.schema import Card
from worker.ledger import missed_cases, read_cases
from worker.ledger.calibrations import Fitted, Layer
from worker.ledger.missed_cases import Extent
from worker.ledger.tables import Model
from worker.ledger.thresholds import Point
from worker.monitor.counts import Bins, bins_of
from worker.recalibration.held_out import ENOUGH, CannotFit, Fit, LabelledScore, Verdict, digest, fit_site
from worker.recalibration.logistic import Recalibration, log_odds
from worker.report.site_cases import SiteCases

# The operating point of a card at whose threshold a score is as much evidence for pneumonia as against it.
NEUTRAL = "balanced"
SENTENCES = {
    Verdict.BETTER: "On held-out images, the recalibrated probabilities are better than the scores, beyond chance.",
    Verdict.SAME: "On held-out images, chance explains the difference: nobody knows whether the recalibration helps.",
    Verdict.WORSE: (
        "On held-out images, the recalibrated probabilities are worse than the scores, beyond chance, so the recalibration"
        " is not offered."
    ),
}


@dataclass(frozen=True)
class Numbers:
    """What a calibration was fitted on.

    Attributes:
        runs: how many runs were counted.
        images: scored images in them, read or not.
        shown: flagged and uncertain images that were judged, with signs and without.
        drawn: clear images that were drawn and judged, with signs and without.
        clear: clear images in all.
        score_first: how many final readings followed a protocol that shows scores first.
    """

    runs: int
    images: int
    shown: tuple[int, int]
    drawn: tuple[int, int]
    clear: int
    score_first: int

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """Read what `asdict` made, and JSON has made lists of."""
        pairs = {name: (document[name][0], document[name][1]) for name in ("shown", "drawn")}
        return cls(**{**document, **pairs})

    @property
    def kinds(self) -> tuple[int, int]:
        """How many judged images have signs, and how many have none."""
        return self.shown[0] + self.drawn[0], self.shown[1] + self.drawn[1]


@dataclass(frozen=True)
class Figures:
    """All that is known of a fit: what it was fitted on, the fit, and the scores of all images by twentieths."""

    numbers: Numbers
    fit: Fit
    scores: Bins

    @property
    def document(self) -> dict[str, Any]:
        """The figures as JSON."""
        return {"numbers": asdict(self.numbers), "fit": self.fit.document, "scores": list(self.scores)}

    @classmethod
    def of(cls, layer: Layer) -> Self:
        """Return the figures of a calibration on record."""
        return cls(
            Numbers.parse(layer.figures["numbers"]),
            Fit.parse(layer.recalibration, layer.figures["fit"]),
            tuple(layer.figures["scores"]),
        )

    @property
    def sentences(self) -> list[str]:
        """What a person must know of the figures, the most important first."""
        held_out, said = self.fit.held_out, [SENTENCES[self.fit.held_out.verdict]]
        if min(self.numbers.kinds) < ENOUGH:
            said.append(
                f"Fewer than {ENOUGH} images with signs or without: the figures are uncertain, and the intervals say how much."
            )
        if not held_out.of_patients:
            said.append(
                "No image has a known patient, so images count as independent. If patients have several images, the intervals are too narrow."
            )
        elif held_out.of_patients < held_out.images:
            said.append(
                f"{held_out.images - held_out.of_patients:,} of {held_out.images:,} images have no known patient and count as independent."
            )
        if self.numbers.score_first:
            said.append(
                f"{self.numbers.score_first:,} readings followed a protocol that shows scores first: their readers may have followed the score, which makes a model look better than it is."
            )
        return said


@dataclass(frozen=True)
class Gathered:
    """The read cases of a model, and the runs that they are from."""

    extent: Extent
    site: SiteCases
    cases: Sequence[LabelledScore]

    @property
    def digest(self) -> str:
        """The SHA-256 of the cases."""
        return digest(self.cases)

    def figures(self) -> Figures:
        """Fit, and measure. Raises CannotFit."""
        site = self.site
        if not self.cases:
            raise CannotFit("No run is read to the end with images that this model scored.")
        numbers = Numbers(
            len(self.extent.runs),
            len(site.every),
            site.shown,
            site.sampled,
            len(site.clear),
            site.score_first,
        )
        fit = fit_site(self.cases, len(site.clear))
        return Figures(numbers, fit, bins_of(site.every.values))


def gather(session: Session, model: Model) -> Gathered:
    """Read the cases of a model: those of `missed_cases.extent`."""
    extent = missed_cases.extent(session)
    runs = list(extent.runs)
    read = read_cases.read_cases(session, runs, model.sha256)
    patients = read_cases.patients(session, runs) if read.images else {}
    site = SiteCases.of(read.images, read.score_first)
    cases = [
        LabelledScore(
            image.sha256,
            case.score,
            case.has_signs,
            case.weight,
            image.is_clear,
            patients.get(image.sha256),
        )
        for image, case in site.cases
    ]
    return Gathered(extent, site, cases)


def to_record(gathered: Gathered, figures: Figures) -> Fitted:
    """Return what is put on record. Raises ValueError if held-out figures speak against it."""
    if not figures.fit.is_offered:
        raise ValueError(SENTENCES[Verdict.WORSE].rstrip("."))
    return Fitted(figures.fit.recalibration, figures.fit.prevalence, gathered.digest, figures.document)


def proposed_point(card: Card, recalibration: Recalibration, prevalence: float, name: str) -> Point | None:
    """Return an operating point of the site that weighs evidence as the card's default point does; None without one.

    At the threshold of the card's point `balanced`, a score is as much evidence for pneumonia as against it: the probability
    equals the prevalence that the card's scores are calibrated for. At this site, the same holds where the recalibrated
    probability equals the prevalence of the read cases. Each number of the default point becomes the score at which the
    recalibrated log-odds are as far from those of the site's prevalence as the number's are from those of the card's.
    """
    points = {point.name: point for point in operating_points(card)}
    default = next((point for point in points.values() if point.is_default), None)
    if default is None or not 0 < prevalence < 1:
        return None
    neutral = log_odds(points.get(NEUTRAL, default).threshold)
    numbers = (
        recalibration.score(log_odds(prevalence) + log_odds(number) - neutral)
        for number in (default.threshold, default.band_low, default.band_high)
    )
    return Point.of_site(name, *numbers)
