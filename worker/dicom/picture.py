"""Decodes a DICOM object to what is scored and shown. Only bounded processes call this."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from worker.dicom.facts import GreyFacts
from worker.dicom.form import Form, form_of
from worker.dicom.frames import stored_values
from worker.dicom.greyscale import Scale, grey_scale
from worker.dicom.reading import read_object

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_WHITE_8, _WHITE_16 = 0xFF, 0xFFFF
# Less than any difference between values.
_TINY = 1e-9
# NumPy needs eight bytes a pixel while it counts or looks up.
_ROWS_AT_ONCE = 256
_T = TypeVar("_T", bound=np.generic)


@dataclass(frozen=True)
class Picture:
    """The picture of an object. Each array has the shape (rows, columns), and is made when it is first asked for.

    Attributes:
        places: the place of each pixel's value in the grey scale.
        scale: the grey scale.
    """

    places: NDArray[np.uint16]
    scale: Scale

    @property
    def facts(self) -> GreyFacts:
        """How the grey scale came about."""
        return self.scale.facts

    @cached_property
    def modality(self) -> NDArray[np.uint16] | NDArray[np.int32]:
        """The values after the modality step, rounded; uint16 if no value is negative or has more than 16 bits."""
        values = np.rint(self.scale.modality)
        small = values.min() >= 0 and values.max() <= _WHITE_16
        return (
            self._looked_up(values.astype(np.uint16)) if small else self._looked_up(values.astype(np.int32))
        )

    @cached_property
    def presentation(self) -> NDArray[np.uint16]:
        """What is shown: 0 black .. 65535 white."""
        return self._looked_up(np.rint(self.scale.shown * _WHITE_16).astype(np.uint16))

    @cached_property
    def codes(self) -> NDArray[np.uint16]:
        """The values after the modality step, spread over 0..65535 from the lowest of the picture to the highest."""
        lowest, highest = self.facts.lowest, self.facts.highest
        parts = np.clip((self.scale.modality - lowest) / max(highest - lowest, _TINY), 0, 1)
        return self._looked_up(np.rint(parts * _WHITE_16).astype(np.uint16))

    @cached_property
    def grey8(self) -> NDArray[np.uint8]:
        """What is shown: 0 black .. 255 white."""
        return self._looked_up(np.rint(self.scale.shown * _WHITE_8).astype(np.uint8))

    def _looked_up(self, table: NDArray[_T]) -> NDArray[_T]:
        values = np.empty(self.places.shape, dtype=table.dtype)
        for row in range(0, len(self.places), _ROWS_AT_ONCE):
            rows = slice(row, row + _ROWS_AT_ONCE)
            # Each place is in the table; with `clip`, NumPy needs not check that first, in a copy of its own.
            table.take(self.places[rows], out=values[rows], mode="clip")
        return values


def decode(data: bytes) -> Picture:
    """Decode the bytes of an object.

    Raises:
        RejectedImage: the object cannot be read or decoded, or its grey values are not known.
        MemoryError: the process may use too little memory.
    """
    dataset = read_object(data)
    form = form_of(dataset)
    return picture_of(dataset, form, stored_values(dataset, form))


def picture_of(dataset: Dataset, form: Form, values: NDArray[np.uint16] | NDArray[np.int16]) -> Picture:
    """Return the picture of an object's stored values, shape (rows, columns). Raises RejectedImage."""
    places = _places(values, form)
    return Picture(places, grey_scale(dataset, form, _counts(places, form)))


def _places(values: NDArray[np.uint16] | NDArray[np.int16], form: Form) -> NDArray[np.uint16]:
    """Return each value's distance from the lowest that can be stored."""
    # Modulo 2**16, which is right for the differences.
    return values.view(np.uint16) - np.int64(form.lowest).astype(np.uint16)


def _counts(places: NDArray[np.uint16], form: Form) -> NDArray[np.int64]:
    counts = np.zeros(1 << form.stored, dtype=np.int64)
    for row in range(0, len(places), _ROWS_AT_ONCE):
        counts += np.bincount(places[row : row + _ROWS_AT_ONCE].ravel(), minlength=len(counts))
    return counts
