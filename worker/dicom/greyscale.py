"""The grey scale of a DICOM object: from stored values to what is shown and scored.

A stored value has at most 16 bits, so each step works on a table of all values that there can be, and the picture is
mapped once: exact, and as fast with a look-up table as without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from worker.dicom.facts import GreyFacts, Note, Voi
from worker.dicom.form import Form
from worker.dicom.spacing import spacing_of
from worker.dicom.tables import Levels, Table, Window, first_item, first_window, numbers, table_of
from worker.dicom.tags import named
from worker.errors import RejectedImage
from worker.imagefile.grey_range import range_of_counts

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# A table or window that gives the values of the picture less than this part of the grey scale covers too little of it:
# one of 16 bits on values of 12 bits gives them a sixteenth. So does one that is between black and white for fewer pixels.
_LEAST_CONTRAST = 0.25
_LEAST_INSIDE = 0.1
_EDGE = 0.01
_LARGEST = 2.0**31


@dataclass(frozen=True)
class Scale:
    """A grey scale: for each value that can be stored, from the lowest on, what it means and how it is shown.

    Attributes:
        modality: the value after the modality step, float64.
        shown: 0 black .. 1 white, float64.
        facts: how it came about.
    """

    modality: Levels
    shown: Levels
    facts: GreyFacts


@dataclass(frozen=True)
class _Interest:
    """The VOI step: the table of outputs in 0..1, and what it was made of."""

    shown: Levels
    voi: Voi
    low: float
    high: float
    number: int = 1
    count: int = 1
    window: Window | None = None


def grey_scale(dataset: Dataset, form: Form, counts: NDArray[np.int64]) -> Scale:
    """Work out the grey scale of an object (PS3.3, C.7.6.3.1.2, C.8.11.3.1, C.11.1, C.11.2 and C.11.6).

    1. Modality: the modality LUT, else rescale slope and intercept. A missing intercept is 0, a missing slope 1.
    2. Values of interest: the first VOI LUT, scaled by its real maximum; else the first window by its function, an
       unknown one as LINEAR; else the range of the picture's own values. A table or window that the standard does not
       allow, or that covers too little of the values, is passed over.
    3. One inversion, if the object is MONOCHROME1 or its presentation LUT shape is INVERSE, or both.

    Args:
        dataset: the header.
        form: of its pixels.
        counts: how often each value is stored, from the lowest that can be stored on.

    Raises:
        RejectedImage: `dicom_tag_wrong`, `dicom_tag_unreadable`: the modality step is not known.
    """
    notes: list[Note] = []
    stored = np.arange(len(counts), dtype=np.float64) + form.lowest
    modality = _modality(dataset, stored, notes)
    interest = _interest(dataset, modality, counts, notes)
    inverted = form.dark_is_high or str(dataset.get("PresentationLUTShape", "")) == "INVERSE"
    present = modality[counts > 0]
    window = interest.window
    facts = GreyFacts(
        stored_bits=form.stored,
        lowest=_plain(present.min()),
        highest=_plain(present.max()),
        voi=interest.voi,
        voi_low=_plain(interest.low),
        voi_high=_plain(interest.high),
        voi_number=interest.number,
        voi_count=interest.count,
        center=_plain(window.center) if window else None,
        width=_plain(window.width) if window else None,
        function=window.function if window else None,
        inverted=inverted,
        spacing=spacing_of(dataset),
        notes=tuple(notes),
    )
    return Scale(modality, 1 - interest.shown if inverted else interest.shown, facts)


def _modality(dataset: Dataset, stored: Levels, notes: list[Note]) -> Levels:
    item, _ = first_item(dataset, "ModalityLUTSequence")
    if item is not None:
        table = _table(item, dataset, stored)
        if table is None:
            raise RejectedImage("dicom_tag_unreadable", tag=named("ModalityLUTSequence"))
        return table.applied(stored)
    slopes, intercepts = numbers(dataset, "RescaleSlope"), numbers(dataset, "RescaleIntercept")
    if slopes and not intercepts:
        notes.append(Note.INTERCEPT_MISSING)
    if intercepts and not slopes:
        notes.append(Note.SLOPE_MISSING)
    slope, intercept = (slopes or [1.0])[0], (intercepts or [0.0])[0]
    modality = stored * slope + intercept
    if slope == 0 or np.abs(modality).max() > _LARGEST:
        raise RejectedImage("dicom_tag_wrong", tag=named("RescaleSlope"), value=f"{slope:g}")
    return modality


def _interest(dataset: Dataset, modality: Levels, counts: NDArray[np.int64], notes: list[Note]) -> _Interest:
    """Choose the VOI step, and note what was passed over."""
    return (
        _lut(dataset, modality, counts, notes)
        or _window(dataset, modality, counts, notes)
        or _range(modality, counts)
    )


def _lut(
    dataset: Dataset, modality: Levels, counts: NDArray[np.int64], notes: list[Note]
) -> _Interest | None:
    item, count = first_item(dataset, "VOILUTSequence")
    if item is None:
        return None
    table = _table(item, dataset, modality)
    if table is None or table.entries.max() == 0:
        notes.append(Note.LUT_UNUSABLE)
        return None
    shown = table.applied(modality) / table.entries.max()
    if not _covers(shown, counts):
        notes.append(Note.LUT_COVERS_TOO_LITTLE)
        return None
    return _Interest(shown, Voi.LUT, *_reach(modality, shown), count=count)


def _window(
    dataset: Dataset, modality: Levels, counts: NDArray[np.int64], notes: list[Note]
) -> _Interest | None:
    window, count = first_window(dataset)
    if window is None or not window.usable:
        if count:
            notes.append(Note.WINDOW_UNUSABLE)
        return None
    shown = window.applied(modality)
    if not _covers(shown, counts):
        notes.append(Note.WINDOW_COVERS_TOO_LITTLE)
        return None
    if not window.known:
        notes.append(Note.FUNCTION_UNKNOWN)
    return _Interest(shown, Voi.WINDOW, *window.ends, count=count, window=window)


def _range(modality: Levels, counts: NDArray[np.int64]) -> _Interest:
    """Spread the range of the picture's values over the grey scale; it may fall, if the rescale slope is negative."""
    low, high = sorted(float(modality[place]) for place in range_of_counts(counts))
    shown = np.clip((modality - low) / max(high - low, np.finfo(np.float64).tiny), 0, 1)
    return _Interest(shown, Voi.RANGE, low, high, number=0, count=0)


def _table(item: Dataset, dataset: Dataset, inputs: Levels) -> Table | None:
    _, little_endian = dataset.original_encoding
    return table_of(item, signed=bool(inputs.min() < 0), little_endian=bool(little_endian))


def _covers(shown: Levels, counts: NDArray[np.int64]) -> bool:
    """Return whether the values of the picture get enough of the grey scale, and enough pixels are neither end of it."""
    first, last = range_of_counts(counts)
    reached = shown[first : last + 1]
    inside = counts[(shown > _EDGE) & (shown < 1 - _EDGE)].sum() / counts.sum()
    return bool(reached.max() - reached.min() >= _LEAST_CONTRAST and inside >= _LEAST_INSIDE)


def _reach(modality: Levels, shown: Levels) -> tuple[float, float]:
    """Return between which values a curve gets from 1 % to 99 % of its range."""
    spread = shown.max() - shown.min()
    inside = modality[(shown > shown.min() + _EDGE * spread) & (shown < shown.max() - _EDGE * spread)]
    values = inside if inside.size else modality
    return float(values.min()), float(values.max())


def _plain(value: float) -> float:
    """Return a number as a reader expects it, and as JSON holds it: whole where it is whole."""
    rounded = round(float(value), 4)
    return int(rounded) if rounded == int(rounded) else rounded
