"""The model card as a page: README.md of a bundle, made from card.json alone.

`card_page.md` is the page's Jinja template; this module prepares its tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from worker import DISCLAIMER
from worker.card.reading import (
    Dataset,
    Figure,
    FigureSet,
    Lowest,
    NetworkFigures,
    Point,
    Split,
    Spread,
    datasets,
    figure_sets,
    files,
    lowest,
    networks,
    operating_points,
    particulars,
    read_card,
    splits,
    spreads,
)
from worker.card.schema import Card
from worker.card.text import (
    explained,
    label,
    population_text,
    recipe_text,
    rows_of,
    splits_explained,
    tables_of,
    title,
)

PAGE = "README.md"
_ALT_TEXTS = {
    "roc.png": "ROC curves",
    "reliability.png": "Reliability diagram",
    "history.png": "Loss and accuracy by epoch",
}
_SUBGROUP_METRICS = ("auc", "recall", "specificity")
_SPLIT_METRICS = (*_SUBGROUP_METRICS, "ece", "brier")
_NO_VALUE = "\N{EN DASH}"
# The plots show the loss of each epoch; the page does not.
_NOT_SHOWN = ("history",)
# One phrase for each value of the recipe that is worth a sentence.
_PHRASES = {
    ("model", "side"): "input of {0} x {0} grey pixels",
    ("network", "side"): "input of {0} x {0} grey pixels",
    ("network", "pretrained"): "start from the weights of {}",
    ("fit", "epochs"): "{} epochs",
    ("fit", "batch_size"): "batches of {}",
    ("fit", "learning_rate"): "learning rate up to {}",
    ("fit", "weight_decay"): "weight decay {}",
    ("fit", "label_smoothing"): "label smoothing {}",
    ("fit", "mixup"): "mixup {}",
    ("fit", "ema"): "weights averaged with momentum {}",
    ("sampling", "class_balance"): "classes weighted by their rarity to the power of {}",
    ("teacher", "share"): "{} of each target from a larger network that did not see the patient",
}
Rows = Sequence[Sequence[str]]


def render(raw: Mapping[str, Any]) -> str:
    """Return the model card (Mitchell et al., Model Cards for Model Reporting, FAT* 2019) in Markdown.

    Args:
        raw: the content of card.json. The page leaves out each section that the card does not have.

    Returns:
        GitHub-flavoured Markdown. It links to the plots that the card names, in the same folder.
    """
    card = read_card(raw)
    sets, points = figure_sets(card), operating_points(card)
    text = _template().render(
        card=card,
        name=f"{card.name or 'Unnamed model'} {card.version}".rstrip(),
        disclaimer=DISCLAIMER,
        population=population_text(card),
        figures=_figures(sets),
        set_kinds=explained(image_set.name for image_set in sets),
        subgroups=list(_subgroups(sets)),
        alt_texts=_ALT_TEXTS,
        spread=_spread(spreads(card)),
        splits=_splits(splits(card)),
        split_kinds=splits_explained(split.name for split in splits(card)),
        lowest=[_lowest(figures) for figures in lowest(card)],
        networks=_networks(networks(card)),
        points=[_point(point) for point in points],
        calibration_rows=rows_of(card.calibration.model_extra),
        other_measurements=particulars(card),
        datasets=datasets(card),
        phrases=list(_phrases(card)),
        training_rows=rows_of(card.training, without=_NOT_SHOWN),
        training_tables=tables_of(card.training, without=_NOT_SHOWN),
        recipe_text=recipe_text(card),
        files=files(card),
    )
    return re.sub(r"\n{3,}", "\n\n", text)


def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # noqa: S701 - Markdown, which GitHub and every other viewer sanitises
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"table": _table, "list_of_values": _list_of_values, "dataset_text": _dataset_text}
    environment.filters |= {"title": title, "number": lambda value: f"{value:,}" if value else _NO_VALUE}
    return environment.get_template("card_page.md")


def _figures(sets: Sequence[FigureSet]) -> Rows:
    """Return the table of figures, its header first: one row a metric, one column a set of images."""
    if not sets:
        return []
    metrics = dict.fromkeys(metric for image_set in sets for metric in image_set.figures)
    return [
        ["", *(title(image_set.name) for image_set in sets)],
        *_sizes(sets),
        *(
            [title(metric), *(_figure(image_set.figures.get(metric)) for image_set in sets)]
            for metric in metrics
        ),
    ]


def _sizes(sets: Sequence[FigureSet]) -> Iterator[list[str]]:
    yield ["Images", *(f"{image_set.n:,}" for image_set in sets)]
    if any(image_set.patients for image_set in sets):
        yield [
            "Patients",
            *(f"{image_set.patients:,}" if image_set.patients else _NO_VALUE for image_set in sets),
        ]
    if any(image_set.prevalence is not None for image_set in sets):
        yield ["Share of pneumonia", *(_percent(image_set.prevalence) for image_set in sets)]
    if any(image_set.turned_away for image_set in sets):
        yield ["Rejected", *(f"{image_set.turned_away or 0:,}" for image_set in sets)]


def _subgroups(sets: Sequence[FigureSet]) -> Iterator[tuple[str, Rows]]:
    """Yield a heading and a table, its header first, for each trait of each set of images."""
    for image_set in sets:
        for trait, groups in image_set.subgroups.items():
            header = [title(trait), "Images", *map(title, _SUBGROUP_METRICS)]
            yield f"{title(image_set.name)}, by {label(trait)}", [header, *map(_subgroup, groups)]


def _subgroup(group: FigureSet) -> list[str]:
    figures = [_figure(group.figures.get(metric)) for metric in _SUBGROUP_METRICS] if group.figures else []
    return [group.name, f"{group.n:,}", *(figures or ["too few images", "", ""])]


def _splits(found: Sequence[Split]) -> Rows:
    """Return the table of the splits, its header first: one row a split and condition."""
    if not found:
        return []
    return [
        ["", "Images", *map(title, _SPLIT_METRICS)],
        *(
            [
                f"{title(split.name)}, {label(image_set.name)}",
                f"{image_set.n:,}",
                *(_figure(image_set.figures.get(metric)) for metric in _SPLIT_METRICS),
            ]
            for split in found
            for image_set in split.sets
        ),
    ]


def _networks(found: Sequence[NetworkFigures]) -> Rows:
    """Return the table of the networks, its header first: one row a set of images and network."""
    if not found:
        return []
    metrics = list(dict.fromkeys(metric for row in found for metric in row.figures))
    return [
        ["", "Network", *map(title, metrics)],
        *(
            [
                title(row.image_set),
                label(row.network),
                *(f"{row.figures[name]:.3f}" if name in row.figures else _NO_VALUE for name in metrics),
            ]
            for row in found
        ),
    ]


def _lowest(figures: Lowest) -> list[str]:
    return [
        f"`{figures.point}`",
        _percent(figures.sensitivity),
        label(figures.sensitivity_in),
        _percent(figures.specificity),
        label(figures.specificity_in),
    ]


def _spread(figures: Sequence[Spread]) -> Rows:
    return [
        [
            title(figure.name),
            f"{figure.mean:.4f}",
            f"{figure.sd:.4f}" if figure.sd is not None else _NO_VALUE,
            ", ".join(f"{value:.4f}" for value in figure.values),
        ]
        for figure in figures
    ]


def _point(point: Point) -> list[str]:
    limits = (point.threshold, point.band_low, point.band_high)
    shares = (point.sensitivity, point.specificity, point.flagged_share)
    name = f"`{point.name}`{' (default)' if point.is_default else ''}"
    return [name, *(f"{limit:.4f}" for limit in limits), *map(_percent, shares)]


def _dataset_text(dataset: Dataset) -> str:
    licence = f"Licence: {dataset.licence}." if dataset.licence else ""
    source = f"{dataset.source}." if dataset.source else ""
    name = f"{title(dataset.role)}: **{dataset.name}**."
    return " ".join(filter(None, [name, source, licence, dataset.note]))


def _phrases(card: Card) -> Iterator[str]:
    for (section, key), phrase in _PHRASES.items():
        values = card.recipe.get(section)
        value = values.get(key) if isinstance(values, Mapping) else None
        if value is not None:
            yield phrase.format(value)


def _figure(figure: Figure | None) -> str:
    return str(figure) if figure is not None else _NO_VALUE


def _percent(share: float | None) -> str:
    return f"{100 * share:.1f} %" if share is not None else _NO_VALUE


def _list_of_values(rows: Sequence[tuple[str, str]]) -> str:
    return _table(["", ""], [(what[:1].upper() + what[1:], value) for what, value in rows]) if rows else ""


def _table(header: Sequence[str], rows: Rows) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
