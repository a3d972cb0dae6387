"""worker.inference.preprocess, exposure and the check of the exposure."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.conftest import TEST_DATA
from worker.errors import RejectedImage
from worker.inference import gate
from worker.inference.exposure import bounds, counts_of, equalising, normalise, stretching
from worker.inference.preprocess import decode_film, to_model_input
from worker.phantom import draw_phantom

SIDE = 128


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def large_radiographs() -> list[bytes]:
    """Return real radiographs if the shared data are present, else phantoms."""
    real = sorted((TEST_DATA / "pediatric_originals").rglob("*.jpeg"))[::8]
    if real:
        return [path.read_bytes() for path in real]
    return [encoded(draw_phantom(seed, width=1600), quality=92) for seed in range(6)]


def fully_decoded(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return squashed(image)


def scaled_by_the_decoder_alone(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        image.draft("L", (SIDE, SIDE))
        return squashed(image)


def squashed(image: Image.Image) -> NDArray[np.uint8]:
    return np.array(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.mark.slow
def test_scaled_decoding_changes_almost_nothing() -> None:
    files = large_radiographs()
    gaps = [difference(decode_film(data, SIDE).grey, fully_decoded(data)) for data in files]
    coarse = [difference(scaled_by_the_decoder_alone(data), fully_decoded(data)) for data in files]
    assert max(gaps) < 1.5
    assert np.mean(gaps) < 0.6 * np.mean(coarse)


@pytest.mark.slow
def test_a_small_copy_gives_nearly_the_same_input() -> None:
    for data in large_radiographs():
        with Image.open(io.BytesIO(data)) as image:
            copy = encoded(image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR), quality=95)
        assert difference(to_model_input(data, SIDE), to_model_input(copy, SIDE)) < 2.5


def test_the_input_has_its_shape_type_and_full_range() -> None:
    grey = to_model_input(encoded(draw_phantom(1)), SIDE)
    assert grey.shape == (SIDE, SIDE)
    assert grey.dtype == np.uint8
    assert (int(grey.min()), int(grey.max())) == (0, 255)


def test_the_input_is_the_same_every_time() -> None:
    data = encoded(draw_phantom(2))
    assert np.array_equal(to_model_input(data, SIDE), to_model_input(data, SIDE))


@pytest.mark.slow
def test_grey_values_give_the_same_input_as_their_file() -> None:
    page = Image.new("L", (900, 1200), 255)
    page.paste(draw_phantom(3, width=700).convert("L"), (100, 200))
    from_file, from_values = decode_film(encoded(page, "PNG"), SIDE), decode_film(np.array(page), SIDE)
    assert from_file.crop == from_values.crop is not None
    assert np.array_equal(from_file.grey, from_values.grey)


def test_a_darker_exposure_gives_nearly_the_same_input() -> None:
    image = draw_phantom(3)
    dim = image.point([round(30 + level * 0.5) for level in range(256)])
    gap = difference(to_model_input(encoded(image, "PNG"), SIDE), to_model_input(encoded(dim, "PNG"), SIDE))
    assert gap < 2.0
    assert difference(fully_decoded(encoded(image, "PNG")), fully_decoded(encoded(dim, "PNG"))) > 15


def test_the_exif_orientation_is_applied() -> None:
    image = draw_phantom(4)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown rotated by 90 degrees clockwise
    turned = image.transpose(Image.Transpose.ROTATE_90)
    upright = decode_film(encoded(image, quality=95), SIDE).grey
    assert difference(decode_film(encoded(turned, quality=95, exif=exif), SIDE).grey, upright) < 1.0
    assert difference(decode_film(encoded(turned, quality=95), SIDE).grey, upright) > 10


def png_with(kind: bytes, content: bytes) -> bytes:
    whole = encoded(draw_phantom(4, width=100), "PNG")
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return whole[:33] + chunk + whole[33:]  # after the signature and IHDR


@pytest.mark.parametrize("kind", [b"pHYs", b"gAMA", b"tRNS", b"sRGB", b"cHRM", b"fcTL", b"iCCP"])
def test_broken_chunks_are_rejected(kind: bytes) -> None:
    assert rejection(png_with(kind, b"")) in {"truncated", "undecodable"}


def test_broken_exif_data_are_ignored() -> None:
    plain = decode_film(encoded(draw_phantom(4, width=100), "PNG"), SIDE).grey
    assert np.array_equal(decode_film(png_with(b"eXIf", b"junk"), SIDE).grey, plain)


@pytest.mark.parametrize("mode", ["RGB", "P", "LA", "RGBA", "1"])
def test_other_modes_are_converted_to_grey(mode: str) -> None:
    data = encoded(draw_phantom(5).convert(mode), "PNG")
    assert to_model_input(data, SIDE).shape == (SIDE, SIDE)


def test_ink_colours_are_rejected() -> None:
    assert rejection(encoded(Image.new("CMYK", (90, 90)))) == "cmyk"


def rejection(data: bytes) -> str:
    with pytest.raises(RejectedImage) as caught:
        to_model_input(data, SIDE)
    return caught.value.code


def test_an_empty_file_is_rejected_as_empty() -> None:
    assert rejection(b"") == "empty"


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
def test_an_incomplete_file_is_rejected_as_truncated(kind: str, share: float) -> None:
    data = encoded(draw_phantom(6, width=400), kind)
    code = rejection(data[: int(len(data) * share)])
    # A JPEG with an incomplete header looks like any other damage.
    assert code == "truncated" or (share == 0.05 and code == "undecodable")


@pytest.mark.parametrize(
    "data",
    [b"not an image", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(50), bytes(1000)],
)
def test_garbage_is_rejected(data: bytes) -> None:
    assert rejection(data) in {"undecodable", "truncated"}


@pytest.mark.slow
@pytest.mark.parametrize("limit_of_the_process", [None, 89_478_485])
def test_a_decompression_bomb_is_rejected(
    monkeypatch: pytest.MonkeyPatch, limit_of_the_process: int | None
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit_of_the_process)
    header = encoded(Image.new("1", (30_000, 30_000)), "PNG")
    assert rejection(header) == "undecodable"


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_every_damaged_file_gives_a_sentence(kind: str) -> None:
    whole = encoded(draw_phantom(7, width=200), kind)
    for seed in range(150):
        rng = random.Random(seed)
        data = bytearray(whole)
        for _ in range(rng.randint(1, 40)):
            data[rng.randrange(len(data) if seed % 2 else 300)] = rng.randrange(256)
        sentence = sentence_of(bytes(data))
        assert sentence.endswith(".")
        assert " at 0x" not in sentence


def sentence_of(data: bytes) -> str:
    try:
        return f"An input of {to_model_input(data, SIDE).size} pixels."
    except RejectedImage as rejection:
        return rejection.sentence


@pytest.mark.parametrize("level", [0, 7, 128, 255])
def test_an_image_of_one_grey_value_is_blank(level: int) -> None:
    assert rejection(encoded(Image.new("L", (300, 300), level))) == "blank"


def test_a_letter_on_an_empty_plate_is_blank() -> None:
    grey = np.full((SIDE, SIDE), 20, dtype=np.uint8)
    grey[:10, :10] = 255  # 0.6 % of the image
    with pytest.raises(RejectedImage):
        gate.check_exposure(grey)


def test_fewer_than_sixteen_levels_are_blank() -> None:
    low, enough = (np.linspace(100, top, 1000).round().astype(np.uint8) for top in (114, 118))
    with pytest.raises(RejectedImage):
        gate.check_exposure(low)
    gate.check_exposure(enough)


def stretched(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return stretching(counts_of(grey))[grey]


@pytest.mark.parametrize("seed", range(20))
def test_normalise_equalises_and_then_stretches_each_pixel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 256, rng.integers(1, 257)).astype(np.uint8)
    grey = rng.choice(levels, (rng.integers(1, 40), rng.integers(1, 40)))
    assert np.array_equal(normalise(grey), stretched(equalising(counts_of(grey))[grey]))


def test_equalise_gives_the_share_of_darker_pixels() -> None:
    grey = np.arange(256, dtype=np.uint8).repeat(4)
    assert np.abs(equalising(counts_of(grey)).astype(int) - np.arange(256)).max() <= 1
    four = np.array([10, 10, 11, 200] * 64, dtype=np.uint8)
    # With the limit, the three values have equal counts: their middles are 1/6, 3/6 and 5/6.
    assert equalising(counts_of(four))[[10, 11, 200]].tolist() == [43, 128, 213]


@pytest.mark.parametrize("gamma", [0.5, 0.7])  # above 1, dark values would become equal
def test_a_tone_curve_has_no_effect(gamma: float) -> None:
    grey = np.asarray(draw_phantom(9, width=SIDE, height=SIDE))
    curve = np.rint(255 * np.linspace(0, 1, 256) ** gamma).astype(np.uint8)
    assert difference(normalise(curve[grey]), normalise(grey)) < 1
    assert difference(stretched(curve[grey]), stretched(grey)) > 10


def test_an_empty_border_takes_up_little_of_the_range() -> None:
    grey = np.asarray(draw_phantom(9, width=SIDE, height=SIDE))
    bordered = np.pad(grey, 16)  # 36 % of the image: without the limit, the chest would change by 45 levels
    assert difference(normalise(bordered)[16:-16, 16:-16], normalise(grey)) < 15


def test_stretch_maps_the_percentiles_to_the_ends() -> None:
    grey = np.repeat(np.arange(100, 200, dtype=np.uint8), 10)
    assert bounds(counts_of(grey)) == (101, 198)
    # 150 is 49 of 97 levels above the lower bound: 128.8, which is rounded, not truncated.
    assert stretched(grey)[[0, 10, 500, 980, 990]].tolist() == [0, 0, 129, 255, 255]
    assert np.all(np.diff(stretched(grey).astype(int)) >= 0)


def test_stretch_makes_a_single_value_black() -> None:
    assert not normalise(np.full((4, 4), 77, dtype=np.uint8)).any()


def test_no_large_library_is_imported() -> None:
    code = (
        "import sys, worker.inference.classifier, worker.inference.preprocess, worker.inference.bundle;"
        "heavy = {'tensorflow', 'keras', 'ai_edge_litert', 'sklearn', 'scipy'} & set(sys.modules);"
        "print(*heavy)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
