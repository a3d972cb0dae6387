"""What a re-triage makes of one unread image. Pure.

The event of a re-triage holds the rule, so that the audit trail proves the verdict of each image that it changed: see
`worker.ledger.trail_facts`. Numbers are text in it with all their digits, because a verdict depends on each of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worker.card.band import Bounds
from worker.ledger.point_groups import Group, Traits, applying

_BYTES = 6
_WHOLE = 2.0**48


@dataclass(frozen=True)
class Verdict:
    """The verdict of an image after a re-triage. `drawn_rank` is its place if it is drawn now, in [0, 1)."""

    verdict: str
    drawn_rank: float | None = None


@dataclass(frozen=True)
class About:
    """Which images a re-triage is about, by their groups.

    Attributes:
        group: only images that follow the point of this group; None: the general point.
        groups: all groups that have points.
        within: only images of this group, whose point was changed or taken away; None: all.
    """

    group: Group | None = None
    groups: tuple[Group, ...] = ()
    within: Group | None = None

    @property
    def needs_traits(self) -> bool:
        """Whether it depends on the age or the source of an image."""
        return bool(self.groups or self.within)

    @property
    def payload(self) -> dict[str, object]:
        """What an event holds of it."""
        return {
            "point_group": self.group.key if self.group else None,
            "groups": " ".join(group.key for group in self.groups),
            "within": self.within.key if self.within else None,
        }

    @classmethod
    def parse(cls, payload: Mapping[str, Any]) -> About:
        """Return what an event says. Earlier versions knew no groups. Raises ValueError."""
        group, within = (
            Group.parse(payload[name]) if payload.get(name) else None for name in ("point_group", "within")
        )
        return cls(group, tuple(map(Group.parse, payload.get("groups", "").split())), within)

    def has(self, traits: Traits) -> bool:
        """Return whether an image with these traits is meant."""
        is_within = self.within is None or self.within.has(traits)
        return is_within and applying(self.groups, traits) == self.group


ALL_IMAGES = About()


@dataclass(frozen=True)
class Rule:
    """A re-triage: of which images, to what.

    Attributes:
        model_sha256: the model that made the prediction in force of each image.
        bounds: of the operating point.
        since: only images that arrived then or later; None: all.
        canary_run: the run whose images are left as they are; None: there is none.
        seed: decides which images are drawn.
        sample_share: the share of the images that become clear that are drawn, 0..1.
        beside_share: the share of the flagged images that are drawn beside them, 0..1.
        not_drawn: images that are never drawn, because somebody had them open and may have seen their scores.
        about: only images of these groups.
    """

    model_sha256: str
    bounds: Bounds
    since: datetime | None
    canary_run: int | None
    seed: str = ""
    sample_share: float = 0.0
    beside_share: float = 0.0
    not_drawn: frozenset[int] = frozenset()
    about: About = ALL_IMAGES

    @property
    def payload(self) -> dict[str, object]:
        """The rule as an event holds it."""
        return {
            "model": self.model_sha256,
            "flagged_from": repr(self.bounds.flagged_from),
            "clear_below": repr(self.bounds.clear_below),
            "clear_below_if_cropped": repr(self.bounds.clear_below_if_cropped),
            "since": None if self.since is None else self.since.isoformat(timespec="microseconds"),
            "canary_run": self.canary_run,
            "seed": self.seed,
            "sample_share": repr(self.sample_share),
            "beside_share": repr(self.beside_share),
            # A payload holds no lists.
            "not_drawn": " ".join(map(str, sorted(self.not_drawn))),
            **self.about.payload,
        }

    @classmethod
    def parse(cls, payload: Mapping[str, Any]) -> Rule:
        """Return the rule of an event. Raises KeyError, TypeError or ValueError for an event without one."""
        since = payload["since"]
        return cls(
            str(payload["model"]),
            Bounds(*(float(payload[name]) for name in Bounds.__dataclass_fields__)),
            None if since is None else datetime.fromisoformat(since),
            payload["canary_run"],
            str(payload["seed"]),
            float(payload["sample_share"]),
            float(payload["beside_share"]),
            # Earlier versions drew images that somebody had open, too.
            frozenset(map(int, payload.get("not_drawn", "").split())),
            About.parse(payload),
        )

    def covers(self, run_id: object, received_at: datetime, traits: Traits) -> bool:
        """Return whether an unread image with a score of the model is meant."""
        is_canary = self.canary_run is not None and run_id == self.canary_run
        is_late = self.since is None or received_at >= self.since
        return not is_canary and is_late and self.about.has(traits)

    def apply(
        self, image_id: int, before: object, p_pneumonia: float, *, cropped: bool, never_clear: bool
    ) -> Verdict:
        """Return the verdict of an image that had the verdict `before`."""
        verdict = self.bounds.verdict(p_pneumonia, cropped=cropped, never_clear=never_clear)
        is_drawn = verdict == "clear" and before != "clear" and self.is_sampled(image_id)
        is_drawn = is_drawn or (verdict == "flagged" and self.is_beside(image_id))
        return Verdict(verdict, self.rank(image_id) if is_drawn else None)

    def is_sampled(self, image_id: int) -> bool:
        """Return whether an image is drawn if it becomes clear."""
        return image_id not in self.not_drawn and self._chance("sample", image_id) < self.sample_share

    def is_beside(self, image_id: int) -> bool:
        """Return whether an image is drawn if it is flagged."""
        return image_id not in self.not_drawn and self._chance("beside", image_id) < self.beside_share

    def rank(self, image_id: int) -> float:
        """Return the place of a drawn image."""
        return self._chance("rank", image_id)

    def _chance(self, what: str, image_id: int) -> float:
        """Return a number in [0, 1): uniform to everybody who does not know the seed."""
        drawn = hashlib.sha256(f"{self.seed}:{what}:{image_id}".encode()).digest()[:_BYTES]
        return int.from_bytes(drawn) / _WHOLE
