"""The read cases of a site, counted and sorted once, so that a page can try many thresholds on them. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from worker.card.band import Bounds
from worker.card.confusion import Case, confusion
from worker.ledger.read_cases import ScoredImage


class Scores:
    """Scores of images, sorted by what else decides their verdicts."""

    def __init__(self, images: Iterable[ScoredImage]) -> None:
        """Sort the images. Those that are never clear are one kind, cropped ones another."""
        kinds: tuple[list[float], list[float], list[float]] = ([], [], [])
        for image in images:
            kinds[2 if image.never_clear else 1 if image.cropped else 0].append(image.score)
        self._plain, self._cropped, self._never_clear = map(sorted, kinds)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._plain) + len(self._cropped) + len(self._never_clear)

    @property
    def values(self) -> list[float]:
        """All scores."""
        return [*self._plain, *self._cropped, *self._never_clear]

    def at_or_above(self, threshold: float) -> int:
        """Return how many reach a threshold."""
        return sum(_reaching(scores, threshold) for scores in (self._plain, self._cropped, self._never_clear))

    def not_clear(self, bounds: Bounds) -> int:
        """Return how many are flagged or uncertain: as `Bounds.verdict` says of each."""
        plain = _reaching(self._plain, bounds.clear_below)
        return plain + _reaching(self._cropped, bounds.clear_below_if_cropped) + len(self._never_clear)


@dataclass(frozen=True)
class SiteCases:
    """What is known of the images of a site.

    Attributes:
        cases: the labelled images, each with the number of images for which it stands.
        every: the scores of all images.
        clear: the scores of the clear ones.
        shown: flagged and uncertain images that were judged, with signs and without.
        sampled: clear images that were drawn and judged, with signs and without.
        not_judged: flagged and uncertain images without a label.
        score_first: how many final readings followed a protocol that shows scores first.
    """

    cases: Sequence[tuple[ScoredImage, Case]]
    every: Scores
    clear: Scores
    shown: tuple[int, int]
    sampled: tuple[int, int]
    not_judged: int
    score_first: int = 0

    @classmethod
    def of(cls, images: Sequence[ScoredImage], score_first: int = 0) -> SiteCases:
        """Count images."""
        clear = [image for image in images if image.is_clear]
        shown = [image for image in images if not image.is_clear]
        sampled = _by_label(clear)
        weight = len(clear) / sum(sampled) if sum(sampled) else 1.0
        return cls(
            cases=[
                (image, Case(image.score, image.has_signs, weight if image.is_clear else 1.0))
                for image in images
                if image.has_signs is not None
            ],
            every=Scores(images),
            clear=Scores(clear),
            shown=_by_label(shown),
            sampled=sampled,
            not_judged=sum(image.has_signs is None for image in shown),
            score_first=score_first,
        )

    @property
    def weight(self) -> float | None:
        """For how many clear images each of the sample stands; None without a sample."""
        return len(self.clear) / sum(self.sampled) if sum(self.sampled) else None

    @property
    def is_known(self) -> bool:
        """Whether the cases stand for all images: there is a sample of the clear ones, or no clear one."""
        return bool(self.cases) and (self.weight is not None or not len(self.clear))

    @property
    def signs_share(self) -> float | None:
        """The share of images with signs, estimated; None if it is not known."""
        if not self.is_known:
            return None
        everything = confusion((case for _, case in self.cases), 0.0)
        return everything.sick / (everything.sick + everything.well)


def _reaching(scores: Sequence[float], threshold: float) -> int:
    return len(scores) - bisect_left(scores, threshold)


def _by_label(images: Sequence[ScoredImage]) -> tuple[int, int]:
    signs = [image.has_signs for image in images]
    return signs.count(True), signs.count(False)
