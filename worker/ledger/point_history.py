"""Which groups had operating points at each event of the audit trail. Pure.

The trail names the group of an image when it is scored. Its source stands in the trail; of its age, the trail has only a
seal, so the age that the ledger still holds decides, and the seal proves that age.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping

from worker.ledger.point_groups import Group, applying
from worker.ledger.trail_facts import AppliedPoint, TrailEvent

POINT_SET = "thresholds_set"
_OF_GROUP = "operating_point:"


class PointHistory:
    """The points of groups of each model, as the events about settings say."""

    def __init__(self, events: Iterable[TrailEvent]) -> None:
        """Follow the events of `POINT_SET`, in their order."""
        self._numbers: list[int] = []
        self._states: list[Mapping[tuple[object, Group], object]] = [{}]
        for event in events:
            name = str(event.payload.get("setting"))
            if name.startswith(_OF_GROUP):
                self._add(event, name.removeprefix(_OF_GROUP))

    def _add(self, event: TrailEvent, key: str) -> None:
        try:
            group = Group.parse(key)
        except ValueError:
            return
        point = event.payload.get("operating_point")
        changed = {**self._states[-1], (event.payload.get("model"), group): point}
        self._numbers.append(event.seq)
        self._states.append({one: point for one, point in changed.items() if point is not None})

    def points_at(self, seq: int, model: object) -> dict[Group, object]:
        """Return the groups of a model with the ids of their points, just before an event."""
        state = self._states[bisect_left(self._numbers, seq)]
        return {group: point for (of, group), point in state.items() if of == model}

    def agrees(self, applied: AppliedPoint) -> bool:
        """Return whether an event applied the point of the group that the image was in."""
        if not self._numbers:
            return applied.group is None
        points = self.points_at(applied.seq, applied.model)
        group = applying(points, applied.traits)
        if group is None:
            return applied.group is None
        return (applied.group, applied.operating_point) == (group.key, points[group])
