"""Measures what a margin or a page around a film does to its verdict, before and after films were cut out.

python -m bench.films --folder CHILDREN [--table ADULTS.csv] [--all] [--save RAW.json]

`before` is preprocessing version 1 (the whole picture) and the gate; `after` is what the server does now. Films that
are rejected when they are alone are left out.
"""

from __future__ import annotations

import json
import re
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from PIL import Image

from bench import film_layouts
from bench.film_layouts import LEVELS, PERCENTAGES, Layout, jpeg
from training.data.radiographs import Radiograph, list_folders, list_table
from worker.card.band import is_never_clear
from worker.config import Settings
from worker.errors import RejectedImage
from worker.inference.admission import Admission, Admitted, score_admitted
from worker.inference.bundle import Bundle, load_bundle
from worker.inference.classifier import Classifier
from worker.inference.exposure import normalise
from worker.inference.gate import Gate, open_gate
from worker.inference.preprocess import WHOLE_PICTURE, checked_film
from worker.inference.triage import triage
from worker.progress import progress

ALONE = "alone"
# Films are drawn with at most so many pixels a side.
_FILM_SIDE = 500
_BANDS = {
    5: "5 to 15",
    10: "5 to 15",
    15: "5 to 15",
    20: "20 to 30",
    25: "20 to 30",
    30: "20 to 30",
    40: "40, 60",
    60: "40, 60",
}
# Without --all, each film is drawn once for each row of the table, and in one of so many other layouts.
_ONE_OF_OTHERS = 4


@dataclass(frozen=True)
class Answer:
    """The answer to one picture: a verdict, or the code of a rejection, which has no score."""

    outcome: str
    p_pneumonia: float | None
    crop: bool


@dataclass(frozen=True)
class Row:
    """One picture of a film and its answers."""

    file: str
    pneumonia: bool
    layout: str
    before: Answer
    after: Answer


class Model:
    """The model of the settings, with both ways of preparing a picture."""

    def __init__(self, bundle: Bundle) -> None:
        """Load the network and the gate. Raises ModelUnusable."""
        self._bundle, self._classifier = bundle, Classifier(bundle)
        self._gate: Gate = open_gate(bundle.folder, bundle.card)
        self._admission = Admission(bundle)

    def answers(self, pictures: Sequence[bytes], prepare: Callable[[bytes], Admitted]) -> list[Answer]:
        """Score files that were prepared in one of the two ways."""
        found: list[Admitted | RejectedImage] = []
        for data in pictures:
            try:
                found.append(prepare(data))
            except RejectedImage as rejected:
                found.append(rejected)
        scores = self._scores([each for each in found if isinstance(each, Admitted)])
        return [self._answer(each, scores) for each in found]

    def _scores(self, admitted: Sequence[Admitted]) -> Iterator[tuple[float, float | None]]:
        """Yield the score of each image, and its distance from the training data if the model says it."""
        if not admitted:
            return
        scores = score_admitted(self._classifier, admitted)
        distances = [None] * len(admitted) if scores.distance is None else scores.distance.tolist()
        yield from zip(scores.p_pneumonia.tolist(), distances, strict=True)

    def _answer(
        self, found: Admitted | RejectedImage, scores: Iterator[tuple[float, float | None]]
    ) -> Answer:
        if isinstance(found, RejectedImage):
            return Answer(found.code, None, crop=False)
        (p, distance), crop = next(scores), found.crop is not None
        never_clear, point = is_never_clear(None, distance), self._bundle.operating_point
        return Answer(triage(p, point, cropped=crop, never_clear=never_clear).value, p, crop)

    def before(self, data: bytes) -> Admitted:
        """Prepare a file as the first releases did. Raises RejectedImage."""
        self._gate.check(normalise(checked_film(data, self._bundle.side, WHOLE_PICTURE).grey))
        return self._admission.admit_again(data, WHOLE_PICTURE)

    def after(self, data: bytes) -> Admitted:
        """Prepare a file as the server does now. Raises RejectedImage."""
        return self._admission.admit(data)


def measure(
    model: Model, radiographs: Sequence[Radiograph], *, every: bool, advance: Callable[[int], None]
) -> list[Row]:
    """Draw each film alone, on margins, on pages and in other layouts, and score all pictures in both ways."""
    rows: list[Row] = []
    for number, radiograph in enumerate(radiographs):
        film = Image.open(radiograph.path).convert("L")
        film.thumbnail((_FILM_SIDE, _FILM_SIDE))
        layouts = [
            (ALONE, film.copy),
            *_layouts(film, radiograph.path.name, number, every=every),
        ]
        pictures = [jpeg(draw()) for _, draw in layouts]
        pairs = zip(model.answers(pictures, model.before), model.answers(pictures, model.after), strict=True)
        rows += [
            Row(radiograph.path.name, radiograph.pneumonia, name, before, after)
            for (name, _), (before, after) in zip(layouts, pairs, strict=True)
        ]
        advance(1)
    return rows


def _layouts(film: Image.Image, name: str, number: int, *, every: bool) -> Iterator[Layout]:
    margins, pages = list(film_layouts.margins(film, name)), list(film_layouts.pages(film))
    others = list(film_layouts.others(film, name))
    if not every:
        margins, pages = _by_turns(margins, number), _by_turns(pages, number)
        others = others[number % _ONE_OF_OTHERS :: _ONE_OF_OTHERS]
    yield from (*margins, *pages, *others)


def _by_turns(layouts: Sequence[Layout], number: int) -> list[Layout]:
    """Return one layout for each row of the table."""
    groups: dict[str, list[Layout]] = defaultdict(list)
    for layout in layouts:
        groups[row_of(layout[0])].append(layout)
    return [group[number % len(group)] for group in groups.values()]


def row_of(layout: str) -> str:
    """Return the row of the table that a layout belongs to."""
    if layout.startswith("A4, "):
        return f"{layout.rpartition(', ')[0]}, film at 500 to 1100 of 1240 pixels"
    match = re.fullmatch(r"(.*, (?:four sides|one side)), (\d+) %", layout)
    percent = int(match[2]) if match else 0
    if match and match[1].partition(",")[0] in LEVELS and percent in PERCENTAGES:
        return f"{match[1]}, {_BANDS[percent]} %"
    return layout


def as_markdown(rows: Sequence[Row]) -> str:
    """Return the table, and a list of the films with pneumonia that became clear."""
    alone = {
        row.file: row.before for row in rows if row.layout == ALONE and row.before.p_pneumonia is not None
    }
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.file in alone and row.layout != ALONE:
            groups[row_of(row.layout)].append(row)
    lines = [
        f"{len(alone)} films.",
        "",
        "| picture | pictures | became *clear*, before | after | scored, before | after | cut out |",
        "|---|---|---|---|---|---|---|",
        *(_line(name, group, alone) for name, group in groups.items()),
        "",
        "Films with pneumonia that became clear, after:",
        *(
            f"- {row.file}, {row.layout}: {alone[row.file].p_pneumonia:.3f}, then {row.after.p_pneumonia:.3f}"
            f"{', cut out' if row.after.crop else ''}"
            for group in groups.values()
            for row in group
            if _became_clear(row, alone, row.after)
        ),
        "",
        "Films alone that are cut out or rejected only now:",
        *(
            f"- {row.file}: {row.before.outcome}, then {row.after.outcome}{', cut out' if row.after.crop else ''}"
            for row in rows
            if row.file in alone
            and row.layout == ALONE
            and (row.after.crop or row.after.outcome != row.before.outcome)
        ),
    ]
    return "\n".join(lines)


def _line(name: str, group: Sequence[Row], alone: dict[str, Answer]) -> str:
    at_risk = sum(row.pneumonia and alone[row.file].outcome != "clear" for row in group)
    before, after = (
        sum(_became_clear(row, alone, getattr(row, when)) for row in group) for when in ("before", "after")
    )
    scored = [
        f"{100 * sum(getattr(row, when).p_pneumonia is not None for row in group) / len(group):.0f} %"
        for when in ("before", "after")
    ]
    cut = f"{100 * sum(row.after.crop for row in group) / len(group):.0f} %"
    return f"| {name} | {len(group)} | {before} of {at_risk} | {after} | {scored[0]} | {scored[1]} | {cut} |"


def _became_clear(row: Row, alone: dict[str, Answer], answer: Answer) -> bool:
    return row.pneumonia and alone[row.file].outcome != "clear" and answer.outcome == "clear"


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="A folder that holds NORMAL and PNEUMONIA.")
@click.option("--table", type=click.Path(path_type=Path), help="A CSV with the columns file and label.")
@click.option("--all", "every", is_flag=True, help="Draw each film in every layout: several hours.")
@click.option("--save", type=click.Path(path_type=Path), help="Write all answers to this JSON file.")
def main(folder: Path | None, table: Path | None, *, every: bool, save: Path | None) -> None:
    """Measure films on margins and pages, and print the table."""
    model = Model(load_bundle(Settings().model))
    for listed in (list_folders(folder) if folder else [], list_table(table) if table else []):
        if not listed:
            continue
        listed.sort(key=lambda radiograph: zlib.crc32(radiograph.path.name.encode()))
        start = time.monotonic()
        with progress(len(listed), "films") as advance:
            rows = measure(model, listed, every=every, advance=advance)
        click.echo(as_markdown(rows))
        click.echo(f"\n{len(rows)} pictures in {time.monotonic() - start:.0f} s\n")
        if save:
            with save.open("a", encoding="utf-8") as out:
                out.writelines(json.dumps(asdict(row)) + "\n" for row in rows)


if __name__ == "__main__":
    main()
