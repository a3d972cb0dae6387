"""The card as a page to read: README.md in the bundle's folder, made of card.json and nothing else. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from worker import DISCLAIMER
from worker.card.reading import (
    Dataset,
    Figure,
    FigureSet,
    Point,
    datasets,
    figure_sets,
    files,
    operating_points,
    particulars,
    read_card,
    spreads,
)
from worker.card.schema import Card
from worker.card.text import explained, label, recipe_text, rows_of, tables_of, title

PAGE = "README.md"
_ALT = {
    "roc.png": "ROC curves",
    "reliability.png": "Reliability diagram",
    "history.png": "Loss and accuracy by epoch",
}
_IN_A_SUBGROUP = ("auc", "recall", "specificity")
_NOTHING = "\N{EN DASH}"
_INTERVALS = "Each with its 95 % interval in brackets. Images that the gate turned away are counted apart and are in no figure."
_PRELIMINARY = "**Preliminary**: made to try something out, not by the recipe's whole work."
# A loss for each epoch is for the plots of the training.
_NOT_SHOWN = ("history",)
_EXPECTED = (
    "*Sensitivity* is the share of pneumonia at or above the threshold, *specificity* the share of the others "
    "below it, *flagged* the share of all images at or above the band."
)
# How the parts of a recipe are said; a part that is not there is not said.
_IN_WORDS = {
    ("model", "side"): "{0} x {0} grey pixels in",
    ("network", "side"): "{0} x {0} grey pixels in",
    ("network", "pretrained"): "begun with the weights of {}",
    ("fit", "epochs"): "{} epochs",
    ("fit", "batch_size"): "batches of {}",
    ("fit", "learning_rate"): "learning rate up to {}",
    ("fit", "weight_decay"): "weight decay {}",
    ("fit", "label_smoothing"): "label smoothing {}",
    ("fit", "mixup"): "mixup {}",
    ("fit", "ema"): "weights averaged with momentum {}",
    ("sampling", "class_balance"): "classes weighted by their rarity to the power of {}",
    (
        "teacher",
        "share",
    ): "{} of what it learns from is the opinion of a bigger network on patients kept from that one",
}
Rows = Sequence[Sequence[str]]


def render(raw: Mapping[str, Any]) -> str:
    """The model card (Mitchell et al., Model Cards for Model Reporting, FAT* 2019) in Markdown.

    Args:
        raw: what card.json holds. A section that is not there is left out, as in older cards.

    Returns:
        Markdown as GitHub reads it; it names the plots that the card names, as files beside it.
    """
    card = read_card(raw)
    blocks = (
        _head(card), _use(card), _figures(card), _pictures(card), _spread(card), _points(card),
        _calibration(card), _other_measurements(card), _data(card), _training(card), _files(card), _citation(card),
    )  # fmt: skip
    return "\n\n".join(line for block in blocks for line in block) + "\n"


def _head(card: Card) -> Iterator[str]:
    yield f"# {_name(card)}"
    yield f"> {DISCLAIMER}"
    if card.preliminary:
        yield f"> {_PRELIMINARY}"


def _use(card: Card) -> Iterator[str]:
    if card.intended_use:
        yield "## What it is for"
        yield card.intended_use
    if card.not_for:
        yield "## What it is not for"
        yield _list(card.not_for)
    if card.limits:
        yield "## Limits"
        yield _list(card.limits)


def _figures(card: Card) -> Iterator[str]:
    sets = figure_sets(card)
    if not sets:
        return
    yield "## Figures"
    metrics = dict.fromkeys(metric for each in sets for metric in each.figures)
    rows = [[title(metric), *(_figure(each.figures.get(metric)) for each in sets)] for metric in metrics]
    yield _table(["", *(title(each.name) for each in sets)], [*_sizes(sets), *rows])
    yield _INTERVALS
    yield from filter(None, [explained(each.name for each in sets)])
    for each in sets:
        for trait, groups in each.subgroups.items():
            yield f"### {title(each.name)}, by {label(trait)}"
            yield _table(
                [title(trait), "Images", *(title(metric) for metric in _IN_A_SUBGROUP)],
                [_group(group) for group in groups],
            )


def _sizes(sets: Sequence[FigureSet]) -> Iterator[list[str]]:
    yield ["Images", *(f"{each.n:,}" for each in sets)]
    if any(each.patients for each in sets):
        yield ["Patients", *(f"{each.patients:,}" if each.patients else _NOTHING for each in sets)]
    if any(each.prevalence is not None for each in sets):
        yield ["Share of pneumonia", *(_share(each.prevalence) for each in sets)]
    if any(each.turned_away for each in sets):
        yield ["Turned away", *(f"{each.turned_away or 0:,}" for each in sets)]


def _group(group: FigureSet) -> list[str]:
    figures = [_figure(group.figures.get(metric)) for metric in _IN_A_SUBGROUP] if group.figures else []
    return [group.name, f"{group.n:,}", *(figures or ["too few to say", "", ""])]


def _pictures(card: Card) -> Iterator[str]:
    for name in card.plots:
        yield f"![{_ALT.get(name, name)}]({name})"


def _spread(card: Card) -> Iterator[str]:
    found = spreads(card)
    if not found:
        return
    yield "## Spread over seeds and folds"
    rows = [
        [
            title(each.name),
            f"{each.mean:.4f}",
            f"{each.sd:.4f}" if each.sd is not None else _NOTHING,
            ", ".join(f"{value:.4f}" for value in each.values),
        ]
        for each in found
    ]
    yield _table(["", "Mean", "Standard deviation", "Each"], rows)


def _points(card: Card) -> Iterator[str]:
    points = operating_points(card)
    if not points:
        return
    yield "## Operating points"
    header = ["", "Threshold", "Uncertain from", "to", "Sensitivity", "Specificity", "Flagged"]
    yield _table(header, [_point(point) for point in points])
    yield _EXPECTED
    yield from filter(None, [card.operating_point_rule])


def _point(point: Point) -> list[str]:
    limits = (point.threshold, point.band_low, point.band_high)
    shares = (point.sensitivity, point.specificity, point.flagged_share)
    name = f"`{point.name}`{' (default)' if point.is_default else ''}"
    return [name, *(f"{limit:.4f}" for limit in limits), *map(_share, shares)]


def _calibration(card: Card) -> Iterator[str]:
    calibration = card.calibration
    if calibration.temperature is None:
        return
    yield "## Calibration"
    yield f"Temperature {calibration.temperature:.4f}. {calibration.rule}".rstrip()
    yield from _listed(rows_of(calibration.model_extra))


def _other_measurements(card: Card) -> Iterator[str]:
    for name, rows in particulars(card).items():
        yield f"## {title(name)}"
        yield from _listed(rows)


def _data(card: Card) -> Iterator[str]:
    found = datasets(card)
    if found:
        yield "## Data"
        yield _list([_dataset(each) for each in found])


def _dataset(each: Dataset) -> str:
    licence = f"Licence: {each.licence}." if each.licence else ""
    source = f"{each.source}." if each.source else ""
    return " ".join(filter(None, [f"{title(each.role)}: **{each.name}**.", source, licence, each.note]))


def _training(card: Card) -> Iterator[str]:
    recipe, training = card.recipe, card.training
    if recipe or training:
        yield "## Training"
    said = [
        words.format(value)
        for (section, key), words in _IN_WORDS.items()
        if (value := _recipe_value(card, section, key)) is not None
    ]
    if said:
        yield f"In words: {', '.join(said)}."
    yield from _listed(rows_of(training, but=_NOT_SHOWN))
    for name, (header, *rows) in tables_of(training, but=_NOT_SHOWN).items():
        yield f"### {title(name)}"
        yield _table(header, rows)
    if recipe:
        yield f"The whole recipe:\n\n```toml\n{recipe_text(card)}\n```"


def _recipe_value(card: Card, section: str, key: str) -> object:
    """Return a value of the recipe; None if it is not there."""
    values = card.recipe.get(section)
    return values.get(key) if isinstance(values, Mapping) else None


def _files(card: Card) -> Iterator[str]:
    found = files(card)
    if found:
        yield "## Files"
        yield _table(
            ["", "Bytes", "sha256"],
            [
                [f"`{each.name}`", f"{each.bytes:,}" if each.bytes else _NOTHING, f"`{each.sha256}`"]
                for each in found
            ],
        )


def _citation(card: Card) -> Iterator[str]:
    yield "## Citation"
    served = next((f", sha256 {each.sha256}" for each in files(card)), "")
    own = f"The Nightread developers: {_name(card)}{served}."
    yield _list([own, *(f"{each.name}: {each.source}." for each in datasets(card) if each.source)])


def _name(card: Card) -> str:
    return f"{card.name or 'A model without a name'} {card.version}".rstrip()


def _figure(figure: Figure | None) -> str:
    return str(figure) if figure is not None else _NOTHING


def _share(value: float | None) -> str:
    return f"{100 * value:.1f} %" if value is not None else _NOTHING


def _listed(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    if rows:
        yield _table(["", ""], [(what[:1].upper() + what[1:], value) for what, value in rows])


def _list(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {each}" for each in sentences)


def _table(header: Sequence[str], rows: Rows) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
