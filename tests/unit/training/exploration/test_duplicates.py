"""training.exploration.duplicates: copies are found in every form, and different images are not copies."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from training.exploration.duplicates import (
    FARTHEST,
    LEAST_ALIKE,
    fine_detail,
    identical,
    likeness,
    nominated,
    perceptual_hash,
    stored_again,
)
from worker.inference.preprocess import decode_film
from worker.phantom import draw_phantom

COUNT = 24


@pytest.fixture(scope="module")
def drawings() -> list[Image.Image]:
    return [draw_phantom(seed, width=400) for seed in range(COUNT)]


def grey(image: Image.Image, quality: int = 92) -> NDArray[np.uint8]:
    """Return a phantom as the survey sees it: stored as JPEG and decoded by the preprocessing."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return decode_film(out.getvalue(), 128).grey


def described(greys: list[NDArray[np.uint8]]) -> tuple[NDArray[np.uint64], NDArray[np.int8]]:
    hashes = np.array([perceptual_hash(grey) for grey in greys], dtype=np.uint64)
    return hashes, np.stack([fine_detail(grey) for grey in greys])


def cropped(image: Image.Image, share: float) -> Image.Image:
    wide, high = image.width * share, image.height * share
    return image.crop((round(wide), round(high), round(image.width - wide), round(image.height - high)))


def gamma(image: Image.Image) -> Image.Image:
    return image.point([round(255 * (level / 255) ** 1.4) for level in range(256)])


AGAIN: dict[str, Callable[[Image.Image], NDArray[np.uint8]]] = {
    "quality 40": lambda image: grey(image, 40),
    "half the size": lambda image: grey(image.resize((image.width // 2, image.height // 2))),
    "squashed": lambda image: grey(image.resize((224, 224))),
    "brighter": lambda image: grey(ImageEnhance.Brightness(image).enhance(1.2)),
    "less contrast": lambda image: grey(ImageEnhance.Contrast(image).enhance(0.7)),
    "gamma": lambda image: grey(gamma(image)),
}


@pytest.mark.parametrize("how", AGAIN)
def test_only_copies_are_recognised_as_copies(how: str, drawings: list[Image.Image]) -> None:
    greys = [*map(grey, drawings), *map(AGAIN[how], drawings)]
    names = [str(place) for place in range(2 * COUNT)]
    groups, missed = stored_again(*described(greys), names)
    assert [group.files for group in groups] == [(place, place + COUNT) for place in range(COUNT)]
    assert all(LEAST_ALIKE <= group.likeness <= 1.0001 for group in groups)
    assert all(pair.likeness < LEAST_ALIKE for pair in missed)


def test_identical_files_are_groups_of_two_or_more() -> None:
    assert [group.files for group in identical(["a", "b", "a", "c", "b", "a"])] == [(0, 2, 5), (1, 4)]


def test_identical_files_alone_were_not_stored_again(drawings: list[Image.Image]) -> None:
    greys = [grey(each) for each in (drawings[0], drawings[0], drawings[1])]
    assert stored_again(*described(greys), ["same", "same", "other"])[0] == []


def test_a_copy_joins_the_whole_group_of_its_original(drawings: list[Image.Image]) -> None:
    greys = [grey(each) for each in (drawings[0], drawings[1], drawings[0])]
    greys.append(grey(drawings[0], 50))
    (group,), _ = stored_again(*described(greys), ["same", "other", "same", "copy"])
    assert group.files == (0, 2, 3)
    assert group.likeness < 1


def test_near_misses_are_the_most_similar_other_pairs(drawings: list[Image.Image]) -> None:
    hashes, details = described([grey(drawing) for drawing in drawings])
    _, missed = stored_again(hashes, details, [str(place) for place in range(COUNT)])
    pairs = [
        pair for pair in combinations(range(COUNT), 2) if _bits(hashes[pair[0]], hashes[pair[1]]) <= FARTHEST
    ]
    pairs.sort(key=lambda pair: -likeness(details[[pair[0]]], details[[pair[1]]])[0])
    assert [pair.files for pair in missed] == pairs[:4]


@pytest.mark.parametrize("change", [lambda image: cropped(image, 0.01), lambda image: image.rotate(1)])
def test_moved_copy_is_a_near_miss(
    change: Callable[[Image.Image], Image.Image], drawings: list[Image.Image]
) -> None:
    greys = [*map(grey, drawings), grey(change(drawings[3]))]
    groups, missed = stored_again(*described(greys), [str(place) for place in range(COUNT + 1)])
    assert groups == []
    assert missed[0].files == (3, COUNT)


def test_each_close_pair_is_proposed_once() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 700, dtype=np.uint64)
    for place in range(0, 700, 7):
        flipped = rng.choice(64, FARTHEST + int(place % 2), replace=False)
        hashes[(place * 3 + 300) % 700] = hashes[place] ^ np.bitwise_or.reduce(
            np.uint64(1) << flipped.astype(np.uint64)
        )
    wanted = {
        pair for pair in combinations(range(700), 2) if _bits(hashes[pair[0]], hashes[pair[1]]) <= FARTHEST
    }
    got = [
        pair
        for first, second in nominated(hashes)
        for pair in zip(first.tolist(), second.tolist(), strict=True)
    ]
    assert len(wanted) > 20
    assert len(got) == len(wanted)
    assert set(got) == wanted


def test_detail_ignores_haze_and_exposure(drawings: list[Image.Image]) -> None:
    flat = np.full((128, 128), 90, dtype=np.uint8)
    assert not fine_detail(flat).any()
    plain = grey(drawings[0])
    hazy = (plain * 0.5 + 100).astype(np.uint8)
    assert likeness(fine_detail(plain)[None], fine_detail(hazy)[None])[0] > 0.97


def _bits(one: np.uint64, other: np.uint64) -> int:
    return (int(one) ^ int(other)).bit_count()
