"""The parts of an exploration's page that show images: copies, samples and extremes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.evaluation.pictures import read_grey
from training.exploration.duplicates import LEAST_ALIKE
from training.exploration.explore import Exploration, SameImages
from training.exploration.findings import how, listed, plural
from training.exploration.inventory import KINDS, ListedImage
from training.exploration.survey import EXPOSURE
from training.html.blocks import Block, Folded, Grid, Panel, Panels, Picture, Prose, Section, Table
from training.html.pictures import thumbnail

MOST_ROWS = 500
_SAMPLES, _EXTREMES = 12, 3
_MOST_PANELS, _HARMLESS_PANELS, _MOST_OF_ONE = 24, 4, 4
_SMALL, _LARGE = 145, 190
_SEED = 7


def copies(exploration: Exploration) -> Section:
    """Return the section on files with the same image, harmful groups first."""
    if not exploration.same:
        nothing = Prose("No image exists twice, neither byte for byte nor stored again in another form.")
        return Section("Copies", [nothing, *_near_misses(exploration)])
    harmful = [group for group in exploration.same if is_harmful(group)]
    harmless = [group for group in exploration.same if not is_harmful(group)]
    shown = [*harmful[:_MOST_PANELS], *harmless[:_HARMLESS_PANELS]]
    rest = [*harmful[_MOST_PANELS:], *harmless[_HARMLESS_PANELS:]]
    order = "Contradictory labels come first, then images in more than one split, then the others."
    blocks: list[Block | Folded] = [
        *([Prose(order)] if harmful else []),
        Panels([_panel(image) for image in shown]),
    ]
    if rest:
        folded: list[Block] = [Panels([_panel(group) for group in rest[:_MOST_PANELS]])]
        if len(rest) > _MOST_PANELS:
            folded.append(_further(rest[_MOST_PANELS:]))
        blocks.append(Folded(f"{len(rest):,} more", folded))
    return Section("Copies", [*blocks, *_near_misses(exploration)])


def _further(same: Sequence[SameImages]) -> Table:
    rows = [
        (how(group), listed(group.kinds), listed(group.splits), listed(file.name for file in group.files))
        for group in same[:MOST_ROWS]
    ]
    return Table(("kind of copy", "labels", "splits", "files"), rows, truncation_note(len(same)))


def is_harmful(same: SameImages) -> bool:
    """Return whether the copies spoil a training or its evaluation instead of only counting twice."""
    return same.contradictory or len(same.splits) > 1 or len(same.patients) > 1


def _panel(same: SameImages) -> Panel:
    alike = "identical bytes" if same.identical else f"stored again; likeness {same.likeness:.3f}"
    title = alike.capitalize()
    if same.contradictory:
        title = f"Labelled {listed(same.kinds)}"
    elif len(same.splits) > 1:
        title = f"In {listed(same.splits)}"
    more = len(same.files) - _MOST_OF_ONE
    lines = [
        *([alike] if title != alike.capitalize() else []),
        _patient_line(same),
        *([f"and {plural(more, 'more file')}"] if more > 0 else []),
    ]
    pictures = [
        _picture(file, f"{_file_name(file)}, {place(file)}", _LARGE) for file in same.files[:_MOST_OF_ONE]
    ]
    return Panel(pictures, title, lines, "alarm" if is_harmful(same) else "plain")


def _file_name(image: ListedImage) -> str:
    return image.name.rsplit("/", 1)[-1]


def _patient_line(same: SameImages) -> str:
    if len(same.patients) == 1:
        return f"patient {same.patients[0]}"
    return f"stored under {plural(len(same.patients), 'patient')}: {listed(same.patients[:_MOST_OF_ONE])}"


def place(image: ListedImage) -> str:
    """Return the label of an image and its split."""
    return image.kind if image.split == "all" else f"{image.kind}, {image.split}"


def _near_misses(exploration: Exploration) -> list[Block]:
    cards = [
        Panel(
            [_picture(image, f"{_file_name(image)}, {place(image)}", _LARGE) for image in (one, other)],
            f"Likeness {likeness:.3f}",
        )
        for one, other, likeness in exploration.near_misses
        if "test" not in {one.split, other.split}
    ]
    explanation = (
        f"The most similar images that do not count as copies (copies have a likeness of {LEAST_ALIKE:.2f} or more). "
        "A copy that was cropped or turned can appear here."
    )
    return [Prose(explanation), Panels(cards)] if cards else []


def appearance(exploration: Exploration) -> Section:
    """Return the section with the mean of each class and sample images."""
    averages = [
        thumbnail(
            exploration.survey.averages[kind],
            f"The mean of all {kind} images",
            caption=f"mean, {kind}",
            width=200,
        )
        for kind in KINDS
        if kind in exploration.survey.averages
    ]
    means = Grid(
        averages, "The mean of each class. Structures that look sharp are at the same place in all images."
    )
    blocks: list[Block | Folded] = [means]
    for kind in KINDS:
        drawn = _sample(exploration, kind)
        if drawn:
            pictures = [_picture(sample, _file_name(sample), _SMALL) for sample in drawn]
            blocks.append(
                Grid(
                    pictures,
                    f"{kind.capitalize()}: a random sample, one image a patient, with original proportions.",
                )
            )
    return Section("Appearance", blocks)


def _sample(exploration: Exploration, kind: str) -> list[ListedImage]:
    """Return images of different patients, always the same ones."""
    images = [image for image in exploration.survey.images if image.kind == kind and image.split != "test"]
    drawn: dict[str, ListedImage] = {}
    for at in np.random.default_rng(_SEED).permutation(len(images)):
        drawn.setdefault(images[at].radiograph.patient, images[at])
    return list(drawn.values())[:_SAMPLES]


def extremes(exploration: Exploration) -> Section:
    """Return the section with the images at both ends of each exposure number."""
    chosen = np.flatnonzero(exploration.survey.outside_test())
    blocks: list[Block | Folded] = [
        Prose("The images at both ends of each number. Damaged images and unusual views appear here.")
    ]
    for column, name in enumerate(EXPOSURE):
        values = exploration.survey.exposure[:, column]
        order = chosen[np.argsort(values[chosen], kind="stable")].tolist()
        ends = dict.fromkeys([*order[:_EXTREMES], *order[-_EXTREMES:]])
        pictures = [
            _picture(image, f"{written(name, float(values[at]))}, {image.kind}, {_file_name(image)}", _SMALL)
            for at in ends
            for image in [exploration.survey.images[at]]
        ]
        blocks.append(Grid(pictures, f"Lowest and highest {_ENDS[name]}"))
    return Section("Extremes", blocks)


def _picture(image: ListedImage, caption: str, width: int) -> Picture:
    return thumbnail(
        read_grey(image.radiograph.path), f"Chest radiograph, {image.kind}", caption=caption, width=width
    )


_ENDS = {
    "brightness": "mean grey value",
    "contrast": "spread of grey values",
    "black": "share of black pixels",
    "white": "share of white pixels",
    "sharpness": "sharpness",
}


def written(name: str, value: float) -> str:
    """Format a number of `shortcuts.numbers` with three digits; shares in per cent."""
    return f"{100 * value:.2g} %" if name in {"black", "white"} else _number(value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits


def truncation_note(count: int, before: str = "") -> str:
    """Return the caption's note on rows that are not shown; empty if all are."""
    return f"{before}the first {MOST_ROWS} of {count:,}" if count > MOST_ROWS else ""
