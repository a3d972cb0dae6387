"""What to expect of a threshold and a band: by the curves of the model's card, and by the read cases of a site. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from worker.card.at_threshold import Range, rates_at
from worker.card.band import Bounds
from worker.card.confusion import Case, Confusion, confusion, confusion_of, positive_predictive_value
from worker.card.reading import FigureSet, figure_sets
from worker.card.schema import Card, RocSection
from worker.ledger.missed_cases import CLEAR
from worker.ledger.read_cases import ScoredImage
from worker.proportions import ALPHA, Z, clopper_pearson, wilson
from worker.report.site_cases import SiteCases
from worker.report.two_phase import Side, estimate

# The figures, in the order in which they are shown.
FIGURES = (
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "found",
    "flagged",
    "uncertain",
    "images_to_read",
    "reading_s",
)
# The quantile of the normal distribution for an interval of 97.5 %: two of these hold together 95 times in 100.
_Z_OF_TWO = 2.241402727604947
_NO_NUMBERS = "No interval: the card does not say how many images with pneumonia the curve was made from."
_NO_NIGHT = "Not known: enter the images a night and the seconds an image."
_NOT_READ = "Not known: no run of this model is read to the end."
_NO_POSITIVES = "Not defined: nothing would be on this side."


@dataclass(frozen=True)
class Trial:
    """What somebody wants to try.

    Attributes:
        threshold, band_low, band_high: 0..1, in the order of `worker.ledger.thresholds.Point`.
        prevalence: the share of images with pneumonia, 0..1.
        images_a_night: None: not known.
        seconds_an_image: for how long a reader looks at an image; None: not known.
        sample_share: the share of clear images that is drawn to be read, 0..1.
        readers: how many people read an image.
    """

    threshold: float
    band_low: float
    band_high: float
    prevalence: float
    images_a_night: float | None = None
    seconds_an_image: float | None = None
    sample_share: float = 0.0
    readers: int = 1

    @property
    def bounds(self) -> Bounds:
        """The scores at which verdicts change."""
        return Bounds.of_band(self.band_low, self.band_high)


@dataclass(frozen=True)
class Figure:
    """A figure. It lies between `least` and `most`, which are equal if it is known exactly; None: it is not known.

    `low` and `high` are the interval of 95 %, None if there is none. `why_not` says what is missing.
    """

    least: float | None = None
    most: float | None = None
    low: float | None = None
    high: float | None = None
    why_not: str = ""

    @property
    def value(self) -> float | None:
        """The figure where it is known exactly."""
        return self.least if self.least == self.most else None


Figures = Mapping[str, Figure]


@dataclass(frozen=True)
class Curve:
    """A ROC curve: each point is a threshold with sensitivity and specificity, the highest threshold first."""

    points: Sequence[tuple[float, float, float]]


@dataclass(frozen=True)
class CardColumn:
    """What the card says.

    Attributes:
        name: key of the set of images.
        n, patients: of the set; None if the card does not say it.
        independent: (with pneumonia, without): as how many independent images the set counts in intervals; None: not known.
    """

    name: str
    n: int | None
    patients: int | None
    independent: tuple[float, float] | None
    figures: Figures
    curve: Curve


@dataclass(frozen=True)
class SiteColumn:
    """What a site's read cases say."""

    cases: SiteCases
    figures: Figures
    curve: Curve


def card_sets(card: Card) -> list[str]:
    """Return the names of the sets of images whose curves state their thresholds."""
    return [name for name, section in card.curves.items() if _is_whole(section.roc)]


def card_column(card: Card, name: str, trial: Trial) -> CardColumn:
    """Return what the curve of a set of images says.

    A card holds some hundred points of a curve, so a figure lies between two of them. The card has no scores of single
    images either, so no bootstrap over patients can be made here. The interval is Wilson's around both points, as if the set
    had only as many independent images as patients, with the shares of both classes as among the images: images of one
    patient are alike, and a set with twice as many images as patients is worth less than its number of images.
    """
    roc = card.curves[name].roc
    about = next((found for found in figure_sets(card) if found.name == name), None)
    independent = _independent(about)

    def rates(threshold: float) -> tuple[Range, Range]:
        return rates_at(roc, threshold)

    (found, spared), (found_high, spared_high), (found_low, spared_low) = map(
        rates, (trial.threshold, trial.band_high, trial.band_low)
    )
    sick = {"flagged": found_high, "to_read": found_low}
    well = {"flagged": _rest(spared_high), "to_read": _rest(spared_low)}
    for of_class in (sick, well):
        of_class["uncertain"] = _minus(of_class["to_read"], of_class["flagged"])
    with_sick, with_well = independent or (None, None)
    mixed = {kind: _mixed(sick[kind], well[kind], trial.prevalence, with_sick, with_well) for kind in sick}
    sensitivity, specificity = _Rate(found, with_sick), _Rate(spared, with_well)
    figures = {
        "sensitivity": _of_rate(sensitivity),
        "specificity": _of_rate(specificity),
        "ppv": _predictive(sensitivity, specificity, trial.prevalence),
        "npv": _predictive(specificity, sensitivity, 1 - trial.prevalence),
        "found": _of_rate(_Rate(found_low, with_sick)),
        "flagged": mixed["flagged"],
        "uncertain": mixed["uncertain"] if trial.band_low < trial.band_high else Figure(0.0, 0.0, 0.0, 0.0),
        **_work(mixed["to_read"], trial),
    }
    points = list(zip(roc.threshold, roc.sensitivity, roc.specificity, strict=True))
    n, patients = (about.n, about.patients) if about else (None, None)
    return CardColumn(name, n, patients, independent, figures, Curve(points))


def site_column(cases: SiteCases, trial: Trial) -> SiteColumn:
    """Return what the cases of a site say."""
    return SiteColumn(
        cases,
        _site_figures(cases, trial) if len(cases.every) else _unknown(_NOT_READ),
        Curve(_roc([case for _, case in cases.cases]) if cases.is_known else []),
    )


def rates_of_card(card: Card, name: str, threshold: float) -> tuple[Range, Range]:
    """Return sensitivity and specificity that a curve of the card has at a threshold."""
    return rates_at(card.curves[name].roc, threshold)


def rates_of_site(cases: SiteCases, threshold: float) -> tuple[float | None, float | None]:
    """Return sensitivity and specificity of the read cases at a threshold; None if they are not known."""
    if not cases.is_known:
        return None, None
    counted = confusion((case for _, case in cases.cases), threshold)
    return counted.sensitivity, counted.specificity


@dataclass(frozen=True)
class _Rate:
    """A share between two points of a curve, of so many independent images; None: nobody knows of how many."""

    between: Range
    independent: float | None

    def interval(self, z: float = Z) -> tuple[float, float] | None:
        """Return the interval with this quantile of the normal distribution."""
        if self.independent is None:
            return None
        total, (least, most) = max(1, math.floor(self.independent)), self.between.ends
        return wilson(math.floor(least * total), total, z)[0], wilson(math.ceil(most * total), total, z)[1]


def _independent(about: FigureSet | None) -> tuple[float, float] | None:
    if about is None or about.prevalence is None or about.n <= 0:
        return None
    images = min(about.n, about.patients or about.n)
    return about.prevalence * images, (1 - about.prevalence) * images


def _of_rate(rate: _Rate) -> Figure:
    interval = rate.interval()
    low, high = interval or (None, None)
    return Figure(rate.between.low, rate.between.high, low, high, "" if interval else _NO_NUMBERS)


def _predictive(found: _Rate, spared: _Rate, prevalence: float) -> Figure:
    """Return a predictive value by Bayes' rule. Both rates have intervals of 97.5 %, so both hold in 95 of 100 sets."""
    least, most = _bayes_of(found.between.ends, spared.between.ends, prevalence)
    if least is None or most is None:
        return Figure(why_not=_NO_POSITIVES)
    of_found, of_spared = found.interval(_Z_OF_TWO), spared.interval(_Z_OF_TWO)
    if of_found is None or of_spared is None:
        return Figure(least, most, why_not=_NO_NUMBERS)
    low, high = _bayes_of(of_found, of_spared, prevalence)
    return Figure(least, most, low, high)


def _bayes_of(
    found: tuple[float, float], spared: tuple[float, float], prevalence: float
) -> tuple[float | None, float | None]:
    """Return the smallest and the largest predictive value of rates between these ends."""
    return _bayes(found[0], spared[0], prevalence), _bayes(found[1], spared[1], prevalence)


def _bayes(found: float, spared: float, prevalence: float) -> float | None:
    return positive_predictive_value(found, 1 - spared, prevalence)


def _mixed(
    sick: Range, well: Range, prevalence: float, with_sick: float | None, with_well: float | None
) -> Figure:
    """Return a share of all images from the shares of both classes."""

    def mix(one: float, other: float) -> float:
        return prevalence * one + (1 - prevalence) * other

    least, most = map(mix, sick.ends, well.ends)
    of_sick, of_well = _Rate(sick, with_sick).interval(_Z_OF_TWO), _Rate(well, with_well).interval(_Z_OF_TWO)
    if of_sick is None or of_well is None:
        return Figure(least, most, why_not=_NO_NUMBERS)
    low, high = map(mix, of_sick, of_well)
    return Figure(least, most, low, high)


def _work(to_read: Figure, trial: Trial) -> dict[str, Figure]:
    """Return the images to read a night and the time for them: flagged and uncertain ones, and the drawn share of the rest."""
    if trial.images_a_night is None:
        return {"images_to_read": Figure(why_not=_NO_NIGHT), "reading_s": Figure(why_not=_NO_NIGHT)}
    images, drawn = trial.images_a_night, trial.sample_share

    def read(share: float) -> float:
        return images * (share + drawn * (1 - share))

    images_to_read = _scaled(to_read, read)
    if trial.seconds_an_image is None:
        return {"images_to_read": images_to_read, "reading_s": Figure(why_not=_NO_NIGHT)}
    seconds = trial.seconds_an_image * trial.readers
    return {
        "images_to_read": images_to_read,
        "reading_s": _scaled(images_to_read, lambda images: images * seconds),
    }


def _scaled(figure: Figure, scale: Callable[[float], float]) -> Figure:
    least, most, low, high = (
        None if end is None else scale(end) for end in (figure.least, figure.most, figure.low, figure.high)
    )
    return Figure(least, most, low, high, figure.why_not)


def _site_figures(cases: SiteCases, trial: Trial) -> dict[str, Figure]:
    bounds, every, clear = trial.bounds, cases.every, cases.clear
    at_threshold = _Question(
        cases, lambda image: image.score >= trial.threshold, clear.at_or_above(trial.threshold)
    )
    to_read = _Question(
        cases,
        lambda image: (
            bounds.verdict(image.score, cropped=image.cropped, never_clear=image.never_clear) != CLEAR
        ),
        clear.not_clear(bounds),
    )
    flagged, not_clear = every.at_or_above(bounds.flagged_from), every.not_clear(bounds)
    return {
        "sensitivity": at_threshold.sensitivity(ALPHA),
        "specificity": at_threshold.specificity(ALPHA),
        **_predictive_of_site(at_threshold, trial.prevalence),
        "found": to_read.sensitivity(ALPHA),
        "flagged": _share(flagged, len(every)),
        "uncertain": _share(not_clear - flagged, len(every)),
        **_work(_share(not_clear, len(every)), trial),
    }


def _predictive_of_site(question: _Question, prevalence: float) -> dict[str, Figure]:
    """Return both predictive values. The rates have intervals of 97.5 %, so both hold in 95 of 100 samples."""
    found, spared = question.sensitivity(ALPHA / 2), question.specificity(ALPHA / 2)
    if found.least is None or spared.least is None:
        missing = Figure(why_not=found.why_not or spared.why_not)
        return {"ppv": missing, "npv": missing}
    return {
        "ppv": _from_rates(found, spared, prevalence),
        "npv": _from_rates(spared, found, 1 - prevalence),
    }


def _from_rates(found: Figure, spared: Figure, prevalence: float) -> Figure:
    values = [
        None if one is None or other is None else _bayes(one, other, prevalence)
        for one, other in ((found.least, spared.least), (found.low, spared.low), (found.high, spared.high))
    ]
    value, low, high = values
    return Figure(why_not=_NO_POSITIVES) if value is None else Figure(value, value, low, high)


class _Question:
    """Which cases lie on the positive side, by label."""

    def __init__(
        self, cases: SiteCases, is_positive: Callable[[ScoredImage], bool], clear_positive: int
    ) -> None:
        """Count the cases. `clear_positive` is the number of clear images, read or not, on the positive side."""
        sides = [(is_positive(image), image, case) for image, case in cases.cases]
        self._counted: Confusion = confusion_of(
            (side, case.has_signs, case.weight) for side, _, case in sides
        )
        self._number = Counter((side, image.is_clear, case.has_signs) for side, image, case in sides)
        self._room = {True: clear_positive, False: len(cases.clear) - clear_positive}
        self._judged = sum(cases.sampled)

    def sensitivity(self, alpha: float) -> Figure:
        counted = self._counted
        return self._of(
            counted.true_positive, counted.false_negative, counted.sick, has_signs=True, alpha=alpha
        )

    def specificity(self, alpha: float) -> Figure:
        counted = self._counted
        return self._of(
            counted.true_negative, counted.false_positive, counted.well, has_signs=False, alpha=alpha
        )

    def _of(self, right: float, wrong: float, whole: float, *, has_signs: bool, alpha: float) -> Figure:
        """Return the share on the right side: positive with signs, negative without."""
        part, rest = (
            Side(
                read=self._number[is_positive, False, has_signs],
                sampled=self._number[is_positive, True, has_signs],
                room=self._room[is_positive],
                weight=weight,
            )
            for is_positive, weight in ((has_signs, right), (not has_signs, wrong))
        )
        clear = sum(self._room.values())
        found = estimate(part, rest, whole, judged=self._judged, clear=clear, alpha=alpha)
        return Figure(found.value, found.value, found.low, found.high, found.why_not)


def _share(count: int, total: int) -> Figure:
    low, high = clopper_pearson(count, total)
    return Figure(count / total, count / total, low, high)


def _roc(cases: Sequence[Case]) -> list[tuple[float, float, float]]:
    """Return the points of the weighted curve."""
    sick = sum(case.weight for case in cases if case.has_signs)
    well = sum(case.weight for case in cases if not case.has_signs)
    if not sick or not well:
        return []
    points, found, alarms = [(1.0, 0.0, 1.0)], 0.0, 0.0
    ordered = sorted(cases, reverse=True)
    for place, case in enumerate(ordered):
        if case.has_signs:
            found += case.weight
        else:
            alarms += case.weight
        if place + 1 == len(ordered) or ordered[place + 1].score != case.score:
            points.append((case.score, min(1.0, found / sick), max(0.0, 1 - alarms / well)))
    return points


def _unknown(why_not: str) -> dict[str, Figure]:
    return dict.fromkeys(FIGURES, Figure(why_not=why_not))


def _is_whole(roc: RocSection) -> bool:
    return len(roc.threshold) == len(roc.sensitivity) == len(roc.specificity) > 0


def _rest(between: Range) -> Range:
    low, high = between.ends
    return Range(1 - high, 1 - low)


def _minus(whole: Range, part: Range) -> Range:
    (low, high), (part_low, part_high) = whole.ends, part.ends
    return Range(max(0.0, low - part_high), max(0.0, high - part_low))
