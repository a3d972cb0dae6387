"""The changes of a picture: what each does to its pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.robustness.changes import (
    INVERTED,
    Change,
    all_changes,
    changed,
    read_upright,
    seed_of,
)
from worker.phantom import draw_phantom

CHANGES = {change.name: change for change in all_changes()}
FILM = draw_phantom(3, width=200, height=160)


def drawn(
    name: str, seed: int = 0, film: Image.Image = FILM
) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.asarray(CHANGES[name].draw(film, seed))


def test_the_table_holds_what_the_card_promises() -> None:
    assert len(CHANGES) == len(all_changes()) == 97
    amounts: dict[str, list[float]] = {}
    for change in CHANGES.values():
        amounts.setdefault(change.series, []).append(change.amount or 0)
    for colour in ("white", "grey", "black"):
        for where in ("four sides", "one side"):
            assert amounts[f"{colour} margin, {where}"] == [5, 10, 15, 20, 25, 30, 40, 60]
    assert {min(amounts["rotation"]), max(amounts["rotation"])} == {-15, 15}
    assert min(amounts["zoom, black around"]) == min(amounts["zoom, edges continued"]) == 0.6
    assert max(amounts["zoom, cut off"]) == 1.4
    assert (min(amounts["JPEG quality"]), max(amounts["JPEG quality"])) == (20, 95)
    assert (min(amounts["gamma"]), max(amounts["gamma"])) == (0.5, 2)
    assert all(amounts[f"collimation, {n} sides"] == [5, 10, 15, 20, 25] for n in ("two", "four"))
    assert [name for name, change in CHANGES.items() if change.must_be_caught] == [INVERTED]


@pytest.mark.parametrize("change", CHANGES.values(), ids=lambda change: change.name)
def test_each_change_is_repeatable_and_leaves_the_film_alone(change: Change) -> None:
    film = FILM.copy()
    first = changed(film, change, 7)
    assert first == changed(film, change, 7)
    assert film.tobytes() == FILM.tobytes()
    with Image.open(io.BytesIO(first)) as written:
        assert (written.format, written.mode) == ("JPEG", "L")
    # The pixels change, but for a JPEG file of another quality.
    if change.series != "JPEG quality":
        assert change.draw(film, 7).tobytes() != FILM.tobytes()


def test_margins_surround_the_untouched_film() -> None:
    for name, level in (("white", 255), ("grey", 128), ("black", 0)):
        page = drawn(f"{name} margin, four sides, 10 %")
        assert page.shape == (160 + 2 * 20, 200 + 2 * 20)
        assert (page[20:-20, 20:-20] == np.asarray(FILM)).all()
        assert (page[:20] == level).all()
        assert (page[:, -20:] == level).all()


def test_the_seed_chooses_the_side_of_a_margin() -> None:
    name = "white margin, one side, 10 %"
    assert [drawn(name, seed).shape for seed in range(4)] == [(160, 220), (176, 200), (160, 220), (176, 200)]
    assert (drawn(name, 0)[:, :20] == 255).all()
    assert (drawn(name, 1)[:16] == 255).all()
    assert (drawn(name, 2)[:, -20:] == 255).all()
    assert (drawn(name, 3)[-16:] == 255).all()


@pytest.mark.parametrize(("where", "seed", "share"), [
    ("one side", 0, 0.25), ("two sides", 1, 0.5), ("four sides", 0, 0.75),
])  # fmt: skip
def test_collimation_covers_bars_with_black(where: str, seed: int, share: float) -> None:
    white = Image.new("L", (200, 160), 255)
    covered = drawn(f"collimation, {where}, 25 %", seed, white)
    assert covered.shape == (160, 200)
    assert set(np.unique(covered)) == {0, 255}
    assert (covered == 0).mean() == share


def test_zoom_shows_more_around_or_only_the_middle() -> None:
    small = drawn("zoom, black around, 0.8")
    assert small.shape == (200, 250)
    assert (small[20:-20, 25:-25] == np.asarray(FILM)).all()
    assert not small[:20].any()
    continued = drawn("zoom, edges continued, 0.8")
    assert (continued[20:-20, 25:-25] == np.asarray(FILM)).all()
    assert (continued[:20] == continued[20]).all()
    middle = drawn("zoom, cut off, 1.4")
    assert middle.shape == (160 - 2 * 23, 200 - 2 * 29)
    assert (middle == np.asarray(FILM)[23:-23, 29:-29]).all()


def test_rotation_turns_about_the_middle_and_fills_with_black() -> None:
    turned = drawn("rotation, 15 degrees", 0, Image.new("L", (201, 201), 200))
    assert turned[100, 100] == 200
    assert not turned[0, 0]
    line = Image.new("L", (201, 201), 0)
    line.paste(255, (101, 99, 201, 102))
    # A positive angle turns anticlockwise: what lies at the right moves up.
    assert drawn("rotation, 15 degrees", 0, line)[74, 197] > 100
    assert drawn("rotation, -15 degrees", 0, line)[126, 197] > 100


def test_tones_are_those_of_the_formula() -> None:
    assert (drawn(INVERTED) == 255 - np.asarray(FILM)).all()
    grey = Image.new("L", (64, 64), 128)
    assert set(np.unique(drawn("gamma, 2", 0, grey))) == {round(255 * (128 / 255) ** 2)}
    assert set(np.unique(drawn("gamma, 0.5", 0, grey))) == {round(255 * (128 / 255) ** 0.5)}


def test_half_resolution_halves_each_side() -> None:
    assert drawn("half resolution").shape == (80, 100)


@pytest.mark.parametrize(
    "name", ["side marker", "lines of text in two corners", "white label at the lower edge"]
)
def test_writing_covers_a_small_part(name: str) -> None:
    for seed in range(2):
        changed_part = (drawn(name, seed, Image.new("L", (400, 400), 90)) != 90).mean()
        assert 0.0005 < changed_part < 0.06


def test_a_lower_quality_makes_a_smaller_file() -> None:
    sizes = [len(changed(FILM, CHANGES[f"JPEG quality, {quality}"], 0)) for quality in (20, 35, 50, 75, 95)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] / 3


def test_files_are_read_upright_and_at_full_size(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpeg"
    exif = Image.Exif()
    exif[0x0112] = 6
    FILM.save(path, exif=exif)
    assert read_upright(path).size == (160, 200)
    assert seed_of(path) == seed_of(Path("elsewhere") / path.name) != seed_of(tmp_path / "other.jpeg")
