"""The parts of an exploration's page that show images: copies, samples, and the farthest out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.evaluation.pictures import shown
from training.exploration.duplicates import LEAST_ALIKE
from training.exploration.explore import Exploration, Same
from training.exploration.findings import how, listed, plural
from training.exploration.inventory import KINDS, Listed
from training.exploration.survey import EXPOSURE
from training.html.blocks import Block, Card, Cards, Folded, Grid, Picture, Prose, Section, Table
from training.html.pictures import thumbnail

MOST_ROWS = 500
_SAMPLES, _EXTREMES = 12, 3
_MOST_CARDS, _CALM_CARDS, _MOST_OF_ONE = 24, 4, 4
_SMALL, _LARGE = 145, 190
_SEED = 7


def same_twice(found: Exploration) -> Section:
    """Files that show the same picture, those that do harm first."""
    if not found.same:
        nothing = Prose("No picture is there twice, neither byte for byte nor stored again in another form.")
        return Section("The same picture twice", [nothing, *_near_misses(found)])
    loud = [each for each in found.same if is_loud(each)]
    calm = [each for each in found.same if not is_loud(each)]
    shown = [*loud[:_MOST_CARDS], *calm[:_CALM_CARDS]]
    rest = [*loud[_MOST_CARDS:], *calm[_CALM_CARDS:]]
    order = "Contradictory labels come first, then pictures in more than one split, then the others."
    blocks: list[Block | Folded] = [*([Prose(order)] if loud else []), Cards([_card(each) for each in shown])]
    if rest:
        folded: list[Block] = [Cards([_card(each) for each in rest[:_MOST_CARDS]])]
        if len(rest) > _MOST_CARDS:
            folded.append(_further(rest[_MOST_CARDS:]))
        blocks.append(Folded(f"{len(rest):,} more", folded))
    return Section("The same picture twice", [*blocks, *_near_misses(found)])


def _further(same: Sequence[Same]) -> Table:
    rows = [
        (how(each), listed(each.kinds), listed(each.splits), listed(file.name for file in each.files))
        for each in same[:MOST_ROWS]
    ]
    return Table(("how", "called", "in", "files"), rows, cut_short(len(same)))


def is_loud(same: Same) -> bool:
    """Whether it spoils a training or its measurement, rather than only counting double."""
    return same.contradictory or len(same.splits) > 1 or len(same.patients) > 1


def _card(same: Same) -> Card:
    alike = "the same byte for byte" if same.identical else f"stored again; likeness {same.likeness:.3f}"
    title = alike.capitalize()
    if same.contradictory:
        title = f"Called {listed(same.kinds)}"
    elif len(same.splits) > 1:
        title = f"In {listed(same.splits)}"
    more = len(same.files) - _MOST_OF_ONE
    lines = [
        *([alike] if title != alike.capitalize() else []),
        _patient_line(same),
        *([f"and {plural(more, 'more file')}"] if more > 0 else []),
    ]
    pictures = [
        _picture(each, f"{_short(each)}, {place(each)}", _LARGE) for each in same.files[:_MOST_OF_ONE]
    ]
    return Card(pictures, title, lines, "alarm" if is_loud(same) else "plain")


def _short(each: Listed) -> str:
    return each.name.rsplit("/", 1)[-1]


def _patient_line(same: Same) -> str:
    if len(same.patients) == 1:
        return f"patient {same.patients[0]}"
    return f"filed under {plural(len(same.patients), 'patient')}: {listed(same.patients[:_MOST_OF_ONE])}"


def place(each: Listed) -> str:
    """What an image is called, and in which split it lies."""
    return each.kind if each.split == "all" else f"{each.kind}, {each.split}"


def _near_misses(found: Exploration) -> list[Block]:
    cards = [
        Card(
            [_picture(each, f"{_short(each)}, {place(each)}", _LARGE) for each in (one, other)],
            f"Likeness {likeness:.3f}",
        )
        for one, other, likeness in found.near_misses
        if "test" not in {one.split, other.split}
    ]
    asked = (
        f"The most alike of all that are not called the same ({LEAST_ALIKE:.2f} makes a copy). "
        "Look whether you would: a copy that was cropped or turned comes out here."
    )
    return [Prose(asked), Cards(cards)] if cards else []


def looks(found: Exploration) -> Section:
    """The mean of each class, and some of its images."""
    averages = [
        thumbnail(
            found.survey.averages[kind], f"The mean of all {kind} images", caption=f"mean, {kind}", width=200
        )
        for kind in KINDS
        if kind in found.survey.averages
    ]
    means = Grid(averages, "The mean of each class: what is sharp here is at the same place in all images.")
    blocks: list[Block | Folded] = [means]
    for kind in KINDS:
        drawn = _sample(found, kind)
        if drawn:
            pictures = [_picture(each, _short(each), _SMALL) for each in drawn]
            blocks.append(
                Grid(pictures, f"{kind.capitalize()}: drawn at random, one of a patient, shapes as filed.")
            )
    return Section("What they look like", blocks)


def _sample(found: Exploration, kind: str) -> list[Listed]:
    """Images of different patients, always the same ones."""
    images = [each for each in found.survey.images if each.kind == kind and each.split != "test"]
    drawn: dict[str, Listed] = {}
    for at in np.random.default_rng(_SEED).permutation(len(images)):
        drawn.setdefault(images[at].radiograph.patient, images[at])
    return list(drawn.values())[:_SAMPLES]


def farthest(found: Exploration) -> Section:
    """The images at both ends of each number of exposure."""
    chosen = np.flatnonzero(found.survey.outside_test())
    blocks: list[Block | Folded] = [
        Prose(
            "The images at either end of each number: damaged ones, odd views and wrong plates gather here."
        )
    ]
    for column, name in enumerate(EXPOSURE):
        values = found.survey.exposure[:, column]
        order = chosen[np.argsort(values[chosen], kind="stable")].tolist()
        ends = dict.fromkeys([*order[:_EXTREMES], *order[-_EXTREMES:]])
        pictures = [
            _picture(each, f"{written(name, float(values[at]))}, {each.kind}, {_short(each)}", _SMALL)
            for at in ends
            for each in [found.survey.images[at]]
        ]
        blocks.append(Grid(pictures, f"Lowest and highest {_ENDS[name]}"))
    return Section("The farthest out", blocks)


def _picture(each: Listed, caption: str, width: int) -> Picture:
    return thumbnail(
        shown(each.radiograph.path), f"Chest radiograph, {each.kind}", caption=caption, width=width
    )


_ENDS = {
    "brightness": "mean grey value",
    "contrast": "spread of grey values",
    "black": "share of black pixels",
    "white": "share of white pixels",
    "sharpness": "sharpness",
}


def written(name: str, value: float) -> str:
    """A number of `short_cuts.numbers` in three digits; shares in per cent."""
    return f"{100 * value:.2g} %" if name in {"black", "white"} else _number(value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits


def cut_short(count: int, before: str = "") -> str:
    """What the caption of a table says that has more rows than it shows."""
    return f"{before}the first {MOST_ROWS} of {count:,}" if count > MOST_ROWS else ""
