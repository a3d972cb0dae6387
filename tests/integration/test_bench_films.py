"""bench.films: the table of films on margins and pages, on drawn phantoms."""

from __future__ import annotations

import pytest

from bench.film_layouts import LEVELS
from bench.films import ALONE, Answer, Model, Row, as_markdown, measure, row_of
from training.data.radiographs import Radiograph
from worker.config import Settings
from worker.inference.bundle import load_bundle
from worker.phantom import write_phantom


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    path = write_phantom(tmp_path_factory.mktemp("films") / "film.jpg", 1, width=500)
    film = Radiograph(path, pneumonia=True, subtype=None, patient="one")
    return measure(Model(load_bundle(Settings().model)), [film], every=False, advance=lambda _: None)


def test_each_row_of_the_table_has_a_picture_of_the_film(rows: list[Row]) -> None:
    names = [row_of(row.layout) for row in rows]
    for level in LEVELS:
        for sides in ("four sides", "one side"):
            for percent in ("5 to 15", "20 to 30", "40, 60"):
                assert f"{level}, {sides}, {percent} %" in names
    assert sum(name.startswith("A4, ") for name in names) == 3


def test_film_on_white_is_cut_out_only_now(rows: list[Row]) -> None:
    white = [row for row in rows if row.layout.startswith("white, four sides, ") and "1 %" not in row.layout]
    assert all(row.after.crop and not row.before.crop for row in white if row.after.p_pneumonia is not None)
    (alone,) = [row for row in rows if row.layout == ALONE]
    assert alone.before == alone.after


def test_film_that_became_clear_is_counted_and_listed() -> None:
    flagged, clear = Answer("flagged", 0.9, crop=False), Answer("clear", 0.1, crop=True)
    rows = [
        Row("film.jpg", pneumonia=True, layout=ALONE, before=flagged, after=flagged),
        Row("film.jpg", pneumonia=True, layout="white, four sides, 40 %", before=flagged, after=clear),
    ]
    table = as_markdown(rows)
    assert "| white, four sides, 40, 60 % | 1 | 0 of 1 | 1 | 100 % | 100 % | 100 % |" in table
    assert "- film.jpg, white, four sides, 40 %: 0.900, then 0.100, cut out" in table
