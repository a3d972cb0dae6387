"""The groups of images that the monitor counts apart. What is not known is a group of its own. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from worker.ledger.states import Source

UNKNOWN = "unknown"
EVERYTHING = "all"


class Dimension(StrEnum):
    """By what images are grouped."""

    ALL = "all"
    AGE = "age"
    SEX = "sex"
    VIEW = "view"
    SOURCE = "source"
    MACHINE = "machine"
    SIZE = "size"
    READER = "reader"


# Each group of ages and the first age, in years, above it. The queue has the same groups.
AGES: Mapping[str, float] = {"under-1": 1, "1-5": 6, "6-17": 18, "18-64": 65, "65-or-more": float("inf")}
# Each group of sizes and the first length above it: of the shorter side of an image, in pixels.
SIZES: Mapping[str, float] = {
    "under-512": 512,
    "512-1023": 1024,
    "1024-2047": 2048,
    "2048-or-more": float("inf"),
}
_LONGEST = 60
# Who sent a DICOM object stands in its receipt with this before it: see `worker.ledger.actors`.
_PEER = "ae:"


@dataclass(frozen=True)
class Traits:
    """What is known of an image. None: not known.

    Attributes:
        age_years: of the patient.
        sex, view, manufacturer, station_class: as in the ledger.
        width, height: of the picture in pixels.
        source: of its first receipt.
        received_by: the actor who sent it.
    """

    age_years: float | None = None
    sex: str | None = None
    view: str | None = None
    manufacturer: str | None = None
    station_class: str | None = None
    width: int | None = None
    height: int | None = None
    source: str | None = None
    received_by: str | None = None

    def groups(self) -> dict[Dimension, str]:
        """Return the group of the image in each dimension but that of the readers."""
        side = min(self.width, self.height) if self.width and self.height else None
        return {
            Dimension.ALL: EVERYTHING,
            Dimension.AGE: _band(self.age_years, AGES),
            Dimension.SEX: self.sex or UNKNOWN,
            Dimension.VIEW: self.view or UNKNOWN,
            Dimension.SOURCE: self._sender(),
            Dimension.MACHINE: self._machine(),
            Dimension.SIZE: _band(side, SIZES),
        }

    def _sender(self) -> str:
        """Return the source, with the title of the peer that sent a DICOM object if it is kept."""
        if self.source == Source.DICOM and self.received_by and self.received_by.startswith(_PEER):
            return f"{self.source} {self.received_by.removeprefix(_PEER)}"[:_LONGEST]
        return self.source or UNKNOWN

    def _machine(self) -> str:
        if not self.manufacturer and not self.station_class:
            return UNKNOWN
        return f"{self.manufacturer or UNKNOWN} {self.station_class or ''}".strip()[:_LONGEST]


def _band(number: float | None, bands: Mapping[str, float]) -> str:
    if number is None:
        return UNKNOWN
    return next(name for name, end in bands.items() if number < end)
