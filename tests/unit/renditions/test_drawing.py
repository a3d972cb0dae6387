"""worker.renditions.drawing: grey, upright pictures that hold nothing but pixels."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from pydicom.uid import JPEGLSLossless

from tests.bombs import scans
from tests.dicom_objects import as_file, grey_object, phantom_values
from tests.files import cmyk_jpeg, encoded, grey, png_of
from worker.dicom.facts import GreyFacts, Voi
from worker.dicom.picture import decode
from worker.errors import RejectedImage
from worker.imagefile.grey_range import robust_range
from worker.renditions.drawing import LONGEST_SIDE, draw
from worker.renditions.pack import Facts, Kind

MAX_PIXELS = 10**8
SECRET = b"DOE^JANE"


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def full(data: bytes) -> Image.Image:
    return opened(draw(data, MAX_PIXELS)[1][Kind.FULL])


def with_metadata(form: str) -> bytes:
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    exif.get_ifd(0x8825)[1] = "N"
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Comment", SECRET.decode())
    texts.add_itxt("XML:com.adobe.xmp", SECRET.decode())
    options = {"pnginfo": texts} if form == "PNG" else {"comment": SECRET, "xmp": SECRET}
    data = encoded(grey(), form, exif=exif, icc_profile=b"ICC" + SECRET, dpi=(300, 300), **options)
    assert data.count(SECRET) >= 3
    return data + b"<script>" + SECRET


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_no_metadata_of_the_original_is_left(form: str) -> None:
    _, pictures = draw(with_metadata(form), MAX_PIXELS)
    for data in pictures.values():
        picture = opened(data)
        assert SECRET not in data
        assert b"script" not in data
        assert not picture.getexif()
        assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_full_rendition_has_the_decoded_grey_values(form: str) -> None:
    data = encoded(grey(), form)
    shown = full(data)
    assert (shown.format, shown.mode) == ("PNG", "L")
    assert np.array_equal(np.asarray(shown), np.asarray(opened(data)))


def test_renditions_have_their_size_limits() -> None:
    facts, pictures = draw(encoded(grey(5000, 100), "PNG"), MAX_PIXELS)
    assert (facts.width, facts.height) == (5000, 100)
    assert {kind: max(opened(data).size) for kind, data in pictures.items()} == {
        kind: side for kind, side in LONGEST_SIDE.items() if kind is not Kind.VALUES
    }


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    drawn = Image.new("L", (300, 200), 0)
    drawn.paste(255, (0, 0, 60, 40))
    exif = Image.Exif()
    exif[0x0112] = orientation
    facts, pictures = draw(encoded(drawn, "PNG", exif=exif), MAX_PIXELS)
    shown = opened(pictures[Kind.FULL])
    assert shown.size == ((300, 200) if orientation < 5 else (200, 300)) == (facts.width, facts.height)
    bright = [shown.getpixel((x, y)) for x in (5, shown.width - 5) for y in (5, shown.height - 5)]
    # Which corner of the upright picture has the mark: top left, bottom left, top right or bottom right.
    corner = {1: 0, 2: 2, 3: 3, 4: 1, 5: 0, 6: 2, 7: 3, 8: 1}[orientation]
    assert bright.index(255) == corner
    assert bright.count(255) == 1


@pytest.mark.parametrize("mode", ["1", "P", "RGB", "RGBA", "LA"])
def test_every_kind_of_pixel_becomes_grey(mode: str) -> None:
    shown = full(encoded(grey().convert(mode), "PNG"))
    assert shown.mode == "L"
    assert np.asarray(shown).std() > 10


def test_colours_of_print_become_grey() -> None:
    assert full(cmyk_jpeg()).mode == "L"


def grey_scale_of(facts: Facts) -> GreyFacts:
    assert facts.grey is not None
    return GreyFacts.from_dict(facts.grey)


def values_of(facts: Facts, data: bytes) -> NDArray[np.float64]:
    """Return the values that the viewer works out of the picture in two colours."""
    colours = np.asarray(opened(data), dtype=np.float64)
    scale = grey_scale_of(facts)
    codes = colours[..., 0] * 256 + colours[..., 1]
    values: NDArray[np.float64] = scale.lowest + codes * (scale.highest - scale.lowest) / 65535
    return np.round(values, 6)


def sixteen_bits(label: int = 0) -> tuple[np.ndarray, bytes]:
    """Return values of 12 bits in a 16-bit PNG, with a saturated label of this many rows, and a black border."""
    values = (np.asarray(grey(), dtype=np.uint16) + 100) * 8
    values[-3:] = 0
    values[:label] = 65_535
    return values, encoded(Image.fromarray(values), "PNG")


def test_sixteen_bits_stay_and_their_range_is_spread() -> None:
    values, data = sixteen_bits(label=5)
    facts, pictures = draw(data, MAX_PIXELS)
    shown = opened(pictures[Kind.FULL])
    assert (shown.mode, facts.bits) == ("I;16", 16)
    assert len(np.unique(np.asarray(shown))) > 200
    film = values[5:-3]
    scale = grey_scale_of(facts)
    assert scale.voi is Voi.RANGE
    assert scale.voi_low <= np.percentile(film, 1)
    assert np.percentile(film, 99) <= scale.voi_high <= 4 * film.max()
    assert opened(pictures[Kind.THUMBNAIL]).mode == "L"
    assert np.asarray(opened(pictures[Kind.THUMBNAIL])).std() > 30


def test_values_of_sixteen_bits_are_all_there() -> None:
    values, data = sixteen_bits(label=5)
    facts, pictures = draw(data, MAX_PIXELS)
    assert np.array_equal(np.rint(values_of(facts, pictures[Kind.VALUES])), values)


@pytest.mark.parametrize("name", ["inverted", "signed", "fractions", "8 bits"])
def test_values_of_an_object_are_all_there(name: str) -> None:
    stored = phantom_values(8 if name == "8 bits" else 12)
    dataset, values = {
        "inverted": (grey_object(stored, PhotometricInterpretation="MONOCHROME1"), stored),
        "signed": (grey_object(stored.astype(np.int16) - 2048), stored.astype(int) - 2048),
        "fractions": (grey_object(stored, RescaleSlope=0.25, RescaleIntercept=-7), stored * 0.25 - 7),
        "8 bits": (grey_object(stored, 8), stored),
    }[name]
    facts, pictures = draw(as_file(dataset, JPEGLSLossless), MAX_PIXELS)
    step = 1 / 8 if name == "fractions" else 1 / 2
    assert np.abs(values_of(facts, pictures[Kind.VALUES]) - values).max() < step
    assert (facts.width, facts.height) == stored.shape[::-1]


def test_object_is_drawn_in_its_grey_scale() -> None:
    data = as_file(
        grey_object(phantom_values(), WindowCenter=2000, WindowWidth=3000, PixelSpacing=[0.1, 0.1])
    )
    facts, pictures = draw(data, MAX_PIXELS)
    assert np.array_equal(np.asarray(opened(pictures[Kind.FULL])), decode(data).presentation)
    assert grey_scale_of(facts) == decode(data).facts
    assert opened(pictures[Kind.PREVIEW]).mode == "L"


def test_large_object_is_shrunk() -> None:
    facts, pictures = draw(as_file(grey_object(np.tile(phantom_values(), (1, 40)))), MAX_PIXELS)
    assert facts.width == 4800
    assert max(opened(pictures[Kind.FULL]).size) == max(opened(pictures[Kind.VALUES]).size) == 4096


def test_renditions_of_an_object_hold_no_name() -> None:
    data = as_file(grey_object(phantom_values()))
    assert b"Planted" in data
    facts, pictures = draw(data, MAX_PIXELS)
    assert not any(b"Planted" in picture for picture in pictures.values())
    assert "Planted" not in str(facts)


def test_object_with_too_many_pixels_is_refused() -> None:
    with pytest.raises(RejectedImage) as refused:
        draw(as_file(grey_object(phantom_values())), 1_000)
    assert refused.value.code == "too_many_pixels"


def test_saturated_label_does_not_flatten_the_range() -> None:
    plain, labelled = (robust_range(sixteen_bits(label)[0][:-3]) for label in (0, 10))
    assert labelled == pytest.approx(plain, rel=0.1)


@pytest.mark.parametrize("value", [0, 7, 65_535])
def test_plain_picture_has_a_range(value: int) -> None:
    assert robust_range(np.full((4, 4), value, dtype=np.uint16)) == (value, value)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "undecodable"),
        (b"<script>alert(1)</script>", "undecodable"),
        (encoded(Image.new("RGB", (100, 100)), "GIF"), "undecodable"),
        (encoded(grey(600, 500), "JPEG")[:4000], "undecodable"),
        (png_of(20_000, 20_000), "too_many_pixels"),
        (scans(1000, 1000, 200), "too_many_scans"),
    ],
)
def test_file_that_cannot_be_shown_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(RejectedImage) as refused:
        draw(data, MAX_PIXELS)
    assert refused.value.code == code
