"""Fits a recalibration, and measures it on images that it was not fitted on. Pure.

The images of one patient are alike, so they stay together: in cross-validation (S. Geisser, Journal of the American
Statistical Association 70 (1975), 320-328), and in the bootstrap that gives the intervals (B. Efron and R. J. Tibshirani, An
Introduction to the Bootstrap (1993), percentile interval; of clusters: A. C. Davison and D. V. Hinkley, Bootstrap Methods and
their Application (1997), 3.8). Both take the same images in the same order, so the same readings give the same figures.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from worker.monitor.weighted import proportion
from worker.recalibration import logistic
from worker.recalibration.logistic import NEAREST, Floats, Recalibration

# With fewer cases of either kind, or fewer drawn clear images, nothing is fitted.
FEWEST, FEWEST_DRAWN = 30, 20
# Y. Vergouwe et al., Journal of Clinical Epidemiology 58 (2005), 475-483: to measure a model at a new place takes 100 cases
# of either kind. With fewer, intervals are wide, and the page says so.
ENOUGH = 100
FOLDS, RESAMPLES = 10, 1_000
# A slope below this would make all scores nearly equal.
LEAST_SLOPE = 0.1
# The numbers of a recalibration have as many decimals as the audit trail proves.
DIGITS = 6
_MOST_BINS, _CASES_OF_A_BIN = 10, 40
_SEED = 20_261_127
_ENDS = (2.5, 97.5)
Places = NDArray[np.intp]


class CannotFit(ValueError):  # noqa: N818 - an answer: the sentence is for people
    """There is no recalibration; the message is a sentence that says why."""


class Verdict(StrEnum):
    """What held-out images say about a recalibration."""

    BETTER = "better"
    SAME = "same"
    WORSE = "worse"


class LabelledScore(NamedTuple):
    """A score with its final reading.

    Attributes:
        sha256: of the image.
        score: 0..1.
        has_signs: the reading.
        weight: for how many images it stands, 1 or more.
        is_drawn: whether it is a clear image that was drawn at random.
        patient: the key of the patient; None: not known.
    """

    sha256: str
    score: float
    has_signs: bool
    weight: float
    is_drawn: bool = False
    patient: str | None = None

    @property
    def group(self) -> str:
        """What its images have in common: the patient, or only itself."""
        return self.patient or f"image {self.sha256}"


@dataclass(frozen=True)
class Interval:
    """A figure and its interval of 95 %."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Change:
    """A figure of the scores, the same of the recalibrated probabilities, and the difference: after minus before."""

    before: Interval
    after: Interval
    difference: Interval

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """Read what `asdict` made."""
        return cls(**{name: Interval(**document[name]) for name in ("before", "after", "difference")})


@dataclass(frozen=True)
class Bin:
    """Images with similar scores.

    Attributes:
        low, high: their lowest and highest score.
        images: how many.
        score: the mean of their scores, weighted.
        recalibrated: the mean of their held-out recalibrated probabilities, weighted.
        share: which share has signs, weighted.
    """

    low: float
    high: float
    images: int
    score: float
    recalibrated: float
    share: Interval

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """Read what `asdict` made."""
        return cls(**{**document, "share": Interval(**document["share"])})


@dataclass(frozen=True)
class HeldOut:
    """The figures of cross-validation.

    Attributes:
        groups: how many patients and images of unknown patients were kept together.
        of_patients: how many of the images have a known patient.
        images: how many images.
        brier: the mean squared difference between probability and reading (G. W. Brier, Monthly Weather Review 78, 1950).
        log_loss: the mean negative logarithm of the probability of what was read.
        intercept, slope: how well calibrated: 0 and 1 are perfect (`logistic.calibration_intercept`, `calibration_slope`).
        bins: of the reliability diagram, the lowest scores first.
    """

    groups: int
    of_patients: int
    images: int
    brier: Change
    log_loss: Change
    intercept: Change
    slope: Change
    bins: Sequence[Bin]

    @property
    def verdict(self) -> Verdict:
        """`worse` or `better` if chance does not explain the difference of Brier score or log loss, else `same`."""
        differences = [self.brier.difference, self.log_loss.difference]
        if any(difference.low > 0 for difference in differences):
            return Verdict.WORSE
        return Verdict.BETTER if any(difference.high < 0 for difference in differences) else Verdict.SAME

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """Read what `asdict` made."""
        changes = {name: Change.parse(document[name]) for name in ("brier", "log_loss", "intercept", "slope")}
        return cls(**{**document, **changes, "bins": [Bin.parse(one) for one in document["bins"]]})


@dataclass(frozen=True)
class Fit:
    """A recalibration with its figures.

    Attributes:
        recalibration: fitted on all cases.
        intercept, slope: its numbers with their intervals.
        prevalence: the share of images with signs, weighted.
        effective: how many equally weighted cases tell as much.
        held_out: figures on images that a fit did not see.
    """

    recalibration: Recalibration
    intercept: Interval
    slope: Interval
    prevalence: float
    effective: float
    held_out: HeldOut

    @property
    def is_offered(self) -> bool:
        """Whether it may be put in force: held-out figures are not worse beyond chance."""
        return self.held_out.verdict is not Verdict.WORSE

    @property
    def document(self) -> dict[str, Any]:
        """All but the recalibration, as JSON."""
        document = asdict(self)
        del document["recalibration"]
        return document

    @classmethod
    def parse(cls, recalibration: Recalibration, document: Mapping[str, Any]) -> Self:
        """Read what `document` made."""
        return cls(
            recalibration=recalibration,
            intercept=Interval(**document["intercept"]),
            slope=Interval(**document["slope"]),
            prevalence=document["prevalence"],
            effective=document["effective"],
            held_out=HeldOut.parse(document["held_out"]),
        )


def digest(cases: Iterable[LabelledScore]) -> str:
    """Return the SHA-256 of cases: a line for each with image, score, reading and weight, in the order of the images."""
    lines = sorted(f"{case.sha256} {case.score!r} {int(case.has_signs)} {case.weight!r}\n" for case in cases)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def fit_site(cases: Sequence[LabelledScore], clear: int) -> Fit:
    """Fit a recalibration, and measure it. Raises CannotFit.

    Args:
        cases: read images with their weights.
        clear: how many clear images the drawn ones stand for.
    """
    _check(cases, clear)
    ordered = sorted(cases, key=lambda case: case.sha256)
    return _Fitting(ordered).fit()


def _check(cases: Sequence[LabelledScore], clear: int) -> None:
    drawn = sum(case.is_drawn for case in cases)
    signs = sum(case.has_signs for case in cases)
    if clear and not drawn:
        raise CannotFit(
            "No clear image of a random sample was read, so nobody knows what low scores mean here."
        )
    if clear and drawn < min(FEWEST_DRAWN, clear):
        raise CannotFit(
            f"Only {drawn} clear images of a random sample were read, and {FEWEST_DRAWN} are needed."
        )
    for kind, number in (("with signs", signs), ("without signs", len(cases) - signs)):
        if number < FEWEST:
            raise CannotFit(f"Only {number} read images {kind} count, and {FEWEST} of each kind are needed.")


class _Fitting:
    """The arrays of some cases."""

    def __init__(self, cases: Sequence[LabelledScore]) -> None:
        self._cases = cases
        self._scores = np.array([case.score for case in cases])
        self._signs = np.array([float(case.has_signs) for case in cases])
        self._weights = np.array([case.weight for case in cases])
        names = {name: place for place, name in enumerate(sorted({case.group for case in cases}))}
        self._groups: Places = np.array([names[case.group] for case in cases])
        draws = np.random.default_rng(_SEED).multinomial(len(names), [1 / len(names)] * len(names), RESAMPLES)
        # The first row is the cases as they are.
        self._draws = np.vstack([np.ones(len(names)), draws])
        self._resampled = self._draws[:, self._groups] * self._weights

    def fit(self) -> Fit:
        fits = logistic.fit(self._scores, self._signs, self._resampled)
        intercept, slope = (float(number) for number in fits[0])
        if not np.isfinite(fits[0]).all():
            raise CannotFit("The fit found no optimum.")
        if slope < LEAST_SLOPE:
            raise CannotFit(
                f"The slope would be {slope:.2f}: the scores hardly follow the readings, so no recalibration can help."
            )
        return Fit(
            Recalibration(round(intercept, DIGITS), round(slope, DIGITS)),
            _interval(fits[:, 0]),
            _interval(fits[:, 1]),
            prevalence=round(float(np.average(self._signs, weights=self._weights)), DIGITS),
            effective=float(logistic.effective(self._weights)),
            held_out=self._held_out(),
        )

    def _held_out(self) -> HeldOut:
        after = self._cross_validated()
        loss: Callable[[Floats], Floats] = lambda p: -np.log(np.where(self._signs > 0, p, 1 - p))  # noqa: E731
        return HeldOut(
            groups=self._draws.shape[1],
            of_patients=sum(case.patient is not None for case in self._cases),
            images=len(self._cases),
            brier=self._mean_change(after, lambda p: (p - self._signs) ** 2),
            log_loss=self._mean_change(after, loss),
            intercept=self._fitted_change(after, logistic.calibration_intercept),
            slope=self._fitted_change(after, logistic.calibration_slope),
            bins=self._bins(after),
        )

    def _cross_validated(self) -> Floats:
        """Return the recalibrated probability of each case, by a fit without the cases of its patient."""
        folds = self._folds()
        without = np.where(folds == np.arange(FOLDS)[:, np.newaxis], 0.0, self._weights)
        fits = logistic.fit(self._scores, self._signs, without)
        if not np.isfinite(fits).all():
            raise CannotFit("The fit found no optimum without a tenth of the images.")
        z = np.log(self._inside / (1 - self._inside))
        of_case = fits[folds]
        return np.asarray(1 / (1 + np.exp(-(of_case[:, 0] + of_case[:, 1] * z))))

    @property
    def _inside(self) -> Floats:
        return np.asarray(np.clip(self._scores, NEAREST, 1 - NEAREST))

    def _folds(self) -> Places:
        """Deal groups out to folds, so that each fold has about as many of each kind. Names are hashed, as if shuffled."""
        kinds: dict[str, tuple[bool, bool]] = defaultdict(lambda: (False, False))
        for case in self._cases:
            has_signs, is_drawn = kinds[case.group]
            kinds[case.group] = (has_signs or case.has_signs, is_drawn or case.is_drawn)
        order = sorted(kinds, key=lambda name: (kinds[name], hashlib.sha256(name.encode()).digest()))
        fold_of = {name: place % FOLDS for place, name in enumerate(order)}
        return np.array([fold_of[case.group] for case in self._cases])

    def _mean_change(self, after: Floats, loss: Callable[[Floats], Floats]) -> Change:
        means = [
            self._by_group(loss(p) * self._weights) / self._by_group(self._weights)
            for p in (self._inside, np.clip(after, NEAREST, 1 - NEAREST))
        ]
        return _change(*means)

    def _by_group(self, values: Floats) -> Floats:
        """Return the sum of the cases' values for each resample."""
        sums = np.bincount(self._groups, weights=values, minlength=self._draws.shape[1])
        return np.asarray(self._draws @ sums)

    def _fitted_change(self, after: Floats, measure: Callable[[Floats, Floats, Floats], Floats]) -> Change:
        return _change(*(measure(p, self._signs, self._resampled) for p in (self._inside, after)))

    def _bins(self, after: Floats) -> list[Bin]:
        """Return bins of about equally many cases; equal scores stay together."""
        count = max(1, min(_MOST_BINS, len(self._cases) // _CASES_OF_A_BIN))
        edges = np.quantile(self._scores, np.linspace(0, 1, count + 1)[1:-1])
        places = np.searchsorted(edges, self._scores, side="right")
        return [self._bin(np.flatnonzero(places == place), after) for place in np.unique(places)]

    def _bin(self, chosen: Places, after: Floats) -> Bin:
        scores, weights = self._scores[chosen], self._weights[chosen]
        share = float(np.average(self._signs[chosen], weights=weights))
        size = float(logistic.effective(weights))
        low, high = proportion(share * size, size)
        return Bin(
            low=float(scores.min()),
            high=float(scores.max()),
            images=len(chosen),
            score=float(np.average(scores, weights=weights)),
            recalibrated=float(np.average(after[chosen], weights=weights)),
            share=Interval(share, min(low, share), max(high, share)),
        )


def _change(before: Floats, after: Floats) -> Change:
    return Change(_interval(before), _interval(after), _interval(after - before))


def _interval(values: Floats) -> Interval:
    """Return the first value with the percentiles of the others, which are those of resamples."""
    low, high = np.nanpercentile(values[1:], _ENDS)
    return Interval(float(values[0]), float(low), float(high))
