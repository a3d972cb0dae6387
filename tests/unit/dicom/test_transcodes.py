"""The same chest in each lossless transfer syntax: the same values, grey scale and picture, to the last bit."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from tests.conftest import TEST_DATA
from tests.dicom_objects import LOSSLESS, as_file, grey_object, phantom_values
from worker.dicom.picture import Picture, decode

# A published chest takes a second to compress and another to decode.
pytestmark = pytest.mark.slow

CHEST = TEST_DATA / "dicom" / "cr_chest_pa_monochrome1_j2k.dcm"


@pytest.fixture(scope="module")
def chest() -> bytes:
    """A published chest if there is one, else a phantom; uncompressed."""
    if not CHEST.exists():
        # The highest value of a MONOCHROME1 picture is black.
        values = (1 << 15) - 1 - phantom_values(15, 900)
        return as_file(grey_object(values, 15, PhotometricInterpretation="MONOCHROME1"))
    dataset = dcmread(io.BytesIO(Path(CHEST).read_bytes()))
    dataset.decompress(generate_instance_uid=False)
    return as_file(dataset)


@pytest.fixture(scope="module")
def picture(chest: bytes) -> Picture:
    """The chest as its own file has it."""
    return decode(CHEST.read_bytes() if CHEST.exists() else chest)


@pytest.mark.parametrize("name", LOSSLESS)
def test_each_lossless_transcode_is_the_same_picture(name: str, chest: bytes, picture: Picture) -> None:
    transcoded = decode(as_file(dcmread(io.BytesIO(chest)), LOSSLESS[name]))
    assert np.array_equal(transcoded.places, picture.places)
    assert np.array_equal(transcoded.grey8, picture.grey8)
    assert transcoded.facts == picture.facts


def test_lungs_are_darker_than_the_mediastinum(picture: Picture) -> None:
    rows, columns = picture.grey8.shape
    across = picture.grey8[rows * 2 // 5 : rows // 2]
    lungs = across[:, [columns // 4, columns * 3 // 4]].mean()
    assert lungs < across[:, columns * 9 // 20 : columns * 11 // 20].mean()
