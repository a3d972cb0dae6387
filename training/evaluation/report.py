"""The HTML report of an evaluation, for radiologists and statisticians.

It shows the evaluated images, so it needs the same protection as they do.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.evaluation import plots
from training.evaluation.gallery import rejected_images, samples, worst
from training.evaluation.pictures import readable
from training.evaluation.scoring import ScoredImages
from training.evaluation.summary import summary, warnings
from training.evaluation.tables import consequences, decisions, interval, subgroups
from training.evaluation.text import MEANINGS, NAMES
from training.html.blocks import Block, Folded, KeyFigures, Prose, Section, Statements, Table
from training.html.page import page

Json = dict[str, Any]

NOTICE = (
    "This file contains the evaluated images. Store it only where these images may be stored, and never "
    "commit or publish it."
)


def write_report(path: Path, images: ScoredImages, document: Json, root: Path) -> None:
    """Write the report as one HTML file.

    Args:
        path: the file to write.
        images: the scored and the rejected images.
        document: from `training.evaluation.evaluate.document_of`.
        root: paths of files below it are shown relative to it.
    """
    model = document["model"]
    text = page(
        f"{model['name']} {model['version']} on {readable(root.resolve().name)}",
        f"{document['n']:,} images of {document['patients']:,} patients, at the operating point "
        f"{document['operating_point']['name']}. Model {model['sha256'][:12]}.",
        [section for section in _sections(images, document, root) if section.blocks],
        NOTICE,
    )
    path.write_text(text, encoding="utf-8")


def _sections(images: ScoredImages, document: Json, root: Path) -> Iterator[Section]:
    yield Section("Summary", _summary(document))
    yield Section("Metrics", [_figures(document)])
    yield Section("With the weights of the table", list(_weighted(document)))
    yield Section("Discrimination", list(_discrimination(images, document)))
    yield Section("Decisions", list(decisions(images, document)))
    yield Section("Expected results for 1,000 images", list(consequences(document)))
    yield Section("Calibration", list(_calibration(images, document)))
    yield Section("Subgroups", list(subgroups(document)))
    yield Section("Samples", list(samples(images, root)))
    yield Section("Most confident errors", list(worst(images, root)))
    yield Section("Rejected images", list(rejected_images(images, document, root)))
    yield Section("Methods", list(_method(images, document)))


def _summary(document: Json) -> list[Block]:
    warning_sentences = list(warnings(document))
    key = [(f"{document[name]:.3f}", _key(document, name)) for name in _KEY if document[name] is not None]
    return [
        KeyFigures(key),
        *([Statements(warning_sentences, tone="alarm")] if warning_sentences else []),
        Statements(list(summary(document))),
    ]


_KEY = ("auc", "recall", "specificity", "ece")


def _key(document: Json, name: str) -> str:
    low, high = document[f"{name}_ci"]
    return f"{NAMES.get(name, name)}, {low:.3f} to {high:.3f}"


def _figures(document: Json) -> Table:
    rows = [(NAMES.get(name, name), interval(document, name), meaning) for name, meaning in MEANINGS.items()]
    return Table(["", "value [95\u00a0% interval]", "meaning"], rows)


def _weighted(document: Json) -> Iterator[Block]:
    if document["weighted"] is None:
        return
    yield Prose(
        f"With the weights of the table, these images stand for {document['weighted']['stands_for']:,.0f}. "
        "All other figures of this report count each image once."
    )
    names = ("recall", "specificity", "precision", "prevalence")
    rows = [(NAMES.get(name, name), interval(document["weighted"], name)) for name in names]
    yield Table(["", "value [95\u00a0% interval]"], rows)


def _discrimination(images: ScoredImages, document: Json) -> Iterator[Block]:
    if document["auc"] is None:
        yield Prose("All images have the same label, so discrimination is not defined.")
        return
    yield plots.discrimination(images.scored, document)
    yield Table(
        ["operating point", "threshold", "sensitivity", "specificity", "precision"],
        [
            (
                point["name"],
                point["threshold"],
                *(interval(point, name) for name in ("recall", "specificity", "precision")),
            )
            for point in document["operating_points"]
        ],
        "The model's operating points on these images",
    )


def _calibration(images: ScoredImages, document: Json) -> Iterator[Block | Folded]:
    mean, share = float(images.scored.p.mean()), document["prevalence"]
    yield Prose(
        f"The mean score is {mean:.3f}; {share:.3f} of the images show pneumonia. The calibration error is "
        f"{interval(document, 'ece')}. A perfectly calibrated model would have {document['ece_by_chance']:.3f} "
        "on these images by chance alone."
    )
    rule = images.bundle.card["calibration"].get("rule")
    if rule:
        yield Prose(f"Calibration of the model, from its card: {rule}")
    yield plots.reliability(images.scored, document)
    yield Folded(
        "The bins as a table",
        [
            Table(
                ["scores", "images", "mean score", "share with pneumonia"],
                plots.reliability_rows(images.scored),
            )
        ],
    )


def _method(images: ScoredImages, document: Json) -> Iterator[Block]:
    card, bootstrap = images.bundle.card, document["bootstrap"]
    yield Prose(
        "The worker's own code read, rejected and scored the images, with the served network, at the model's default "
        "operating point. Nothing was fitted to them. The labels are assumed to be correct."
    )
    yield Prose(
        f"The 95 % intervals are percentiles of {bootstrap['repeats']:,} bootstrap samples of whole patients (seed "
        f"{bootstrap['seed']}), because images of one patient are alike; DeLong's intervals would need one image a patient. "
        "For perfect or nearly perfect results, the bootstrap's intervals are too narrow, and the exact limits for as "
        "many patients replace them. Resampling can only enlarge a calibration error, so its interval is moved "
        "back by the mean excess."
    )
    if card.get("intended_use"):
        yield Prose(f"Intended use, from the model card: {card['intended_use']}")
    if card.get("limits"):
        yield Statements([str(limit) for limit in card["limits"]])
