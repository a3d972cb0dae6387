"""worker.renditions.drawing: grey, upright pictures that hold nothing but pixels."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from tests.bombs import scans
from tests.files import cmyk_jpeg, encoded, grey, png_of
from worker.errors import RejectedImage
from worker.imagefile.grey_range import robust_range
from worker.renditions.drawing import LONGEST_SIDE, draw
from worker.renditions.pack import Kind

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
    assert {kind: max(opened(data).size) for kind, data in pictures.items()} == LONGEST_SIDE


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
    assert facts.low <= np.percentile(film, 1)
    assert np.percentile(film, 99) <= facts.high <= 4 * film.max()
    assert opened(pictures[Kind.THUMBNAIL]).mode == "L"
    assert np.asarray(opened(pictures[Kind.THUMBNAIL])).std() > 30


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
