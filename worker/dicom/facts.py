"""What was done to the grey scale of an object, for the prediction, the viewer and the reports. No free text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Voi(StrEnum):
    """What chose the values of interest: a look-up table, a window, or the range of the values."""

    LUT = "lut"
    WINDOW = "window"
    RANGE = "range"


class Function(StrEnum):
    """The VOI LUT function of a window (PS3.3, C.11.2.1.2 and C.11.2.1.3)."""

    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"


class Note(StrEnum):
    """What the object states that was not taken as stated."""

    INTERCEPT_MISSING = "intercept_missing"
    SLOPE_MISSING = "slope_missing"
    LUT_UNUSABLE = "lut_unusable"
    LUT_COVERS_TOO_LITTLE = "lut_covers_too_little"
    WINDOW_UNUSABLE = "window_unusable"
    WINDOW_COVERS_TOO_LITTLE = "window_covers_too_little"
    FUNCTION_UNKNOWN = "function_unknown"


class SpacingAt(StrEnum):
    """Where the pixel spacing was measured; `unstated`: the object does not say."""

    PATIENT = "patient"
    DETECTOR = "detector"
    UNSTATED = "unstated"


@dataclass(frozen=True)
class Spacing:
    """The distance between the centres of two pixels in millimetres: down (rows) and across (columns)."""

    down_mm: float
    across_mm: float
    at: SpacingAt


@dataclass(frozen=True)
class GreyFacts:
    """The grey scale of one picture.

    Attributes:
        stored_bits: bits of a stored value.
        lowest: the lowest value in the picture, after the modality step.
        highest: likewise.
        voi: what chose the values of interest.
        voi_low: the value that is shown as black, or as white if `inverted`; values below are, too. For a table, the
            value at which it reaches 1 % of its range; for a sigmoid, the end of the line through its middle.
        voi_high: likewise, white or black.
        voi_number: which of the tables or windows was used, from 1; 0 for a range.
        voi_count: how many of them the object has.
        center: of the window, as stated; None without one.
        width: likewise.
        function: of the window.
        inverted: whether the highest value is shown as black.
        spacing: of the pixels, if it is stated.
        notes: what was not taken as stated.
    """

    stored_bits: int
    lowest: float
    highest: float
    voi: Voi
    voi_low: float
    voi_high: float
    voi_number: int
    voi_count: int
    center: float | None
    width: float | None
    function: Function | None
    inverted: bool
    spacing: Spacing | None
    notes: tuple[Note, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as JSON can hold them: enumerated terms and numbers."""
        return {**asdict(self), "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> GreyFacts:
        """Return the facts that `as_dict` returned. Raises KeyError, TypeError or ValueError for others."""
        spacing, function = facts["spacing"], facts["function"]
        enumerated = {
            "voi": Voi(facts["voi"]),
            "function": function and Function(function),
            "spacing": spacing and Spacing(**{**spacing, "at": SpacingAt(spacing["at"])}),
            "notes": tuple(Note(note) for note in facts["notes"]),
        }
        return cls(**{**facts, **enumerated})
