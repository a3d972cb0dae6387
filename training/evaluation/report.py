"""The report of an evaluation: what a radiologist and a statistician would ask of it, on one page.

It shows the images that it was given, so it belongs where they belong.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.evaluation import plots
from training.evaluation.gallery import samples, turned_away, worst
from training.evaluation.pictures import readable
from training.evaluation.scoring import ScoredImages
from training.evaluation.summary import in_short, to_be_looked_at
from training.evaluation.tables import consequences, decisions, interval, subgroups
from training.evaluation.text import MEANINGS, NAMES
from training.html.blocks import Block, Findings, Folded, KeyFigures, Prose, Section, Table
from training.html.page import page

Json = dict[str, Any]

NOTICE = (
    "The pictures are those of the images that were given. Keep this file where they may be kept, "
    "and never commit or publish it."
)


def write_report(path: Path, examined: ScoredImages, document: Json, root: Path) -> None:
    """Write the report as one HTML file.

    Args:
        path: of the file to write.
        examined: what was scored and what was turned away.
        document: from `training.evaluation.evaluate.document_of`.
        root: files below it are named relative to it.
    """
    model = document["model"]
    text = page(
        f"{model['name']} {model['version']} on {readable(root.resolve().name)}",
        f"{document['n']:,} images of {document['patients']:,} patients, at the operating point "
        f"{document['operating_point']['name']}. Model {model['sha256'][:12]}.",
        [section for section in _sections(examined, document, root) if section.blocks],
        NOTICE,
    )
    path.write_text(text, encoding="utf-8")


def _sections(examined: ScoredImages, document: Json, root: Path) -> Iterator[Section]:
    yield Section("In short", _in_short(document))
    yield Section("Figures", [_figures(document)])
    yield Section("Telling them apart", list(_discrimination(examined, document)))
    yield Section("Decisions", list(decisions(examined, document)))
    yield Section("What 1,000 images would bring", list(consequences(document)))
    yield Section("Calibration", list(_calibration(examined, document)))
    yield Section("Subgroups", list(subgroups(document)))
    yield Section("Samples", list(samples(examined, root)))
    yield Section("Worst mistakes", list(worst(examined, root)))
    yield Section("Turned away", list(turned_away(examined, document, root)))
    yield Section("How this was measured", list(_method(examined, document)))


def _in_short(document: Json) -> list[Block]:
    alarms = list(to_be_looked_at(document))
    key = [(f"{document[name]:.3f}", _key(document, name)) for name in _KEY if document[name] is not None]
    return [
        KeyFigures(key),
        *([Findings(alarms, tone="alarm")] if alarms else []),
        Findings(list(in_short(document))),
    ]


_KEY = ("auc", "recall", "specificity", "ece")


def _key(document: Json, name: str) -> str:
    low, high = document[f"{name}_ci"]
    return f"{NAMES.get(name, name)}, {low:.3f} to {high:.3f}"


def _figures(document: Json) -> Table:
    rows = [(NAMES.get(name, name), interval(document, name), said) for name, said in MEANINGS.items()]
    return Table(["", "value [95\u00a0% interval]", "what it says"], rows)


def _discrimination(examined: ScoredImages, document: Json) -> Iterator[Block]:
    if document["auc"] is None:
        yield Prose("There is only one kind of image here: nothing to tell apart.")
        return
    yield plots.discrimination(examined.scored, document)
    yield Table(
        ["operating point", "threshold", "sensitivity", "specificity", "precision"],
        [
            (
                each["name"],
                each["threshold"],
                *(interval(each, name) for name in ("recall", "specificity", "precision")),
            )
            for each in document["operating_points"]
        ],
        "The model's operating points, as its card names them, on these images",
    )


def _calibration(examined: ScoredImages, document: Json) -> Iterator[Block | Folded]:
    mean, share = float(examined.scored.p.mean()), document["prevalence"]
    yield Prose(
        f"The mean score is {mean:.3f}, and {share:.3f} of the images show pneumonia. The calibration error is "
        f"{interval(document, 'ece')}; a perfectly calibrated model would show {document['ece_by_chance']:.3f} "
        "here by chance alone."
    )
    rule = examined.bundle.card["calibration"].get("rule")
    if rule:
        yield Prose(f"The card says of the scores: {rule}")
    yield plots.reliability(examined.scored, document)
    yield Folded(
        "The bins as a table",
        [
            Table(
                ["scores", "images", "mean score", "share with pneumonia"],
                plots.reliability_rows(examined.scored),
            )
        ],
    )


def _method(examined: ScoredImages, document: Json) -> Iterator[Block]:
    card, bootstrap = examined.bundle.card, document["bootstrap"]
    yield Prose(
        "The images were read, turned away and scored by the code that screens, with the network that is served, at the "
        "model's own default operating point. Nothing was fitted to them. Labels are taken for the truth."
    )
    yield Prose(
        f"Intervals hold 95 %: percentiles of {bootstrap['repeats']:,} bootstrap samples of whole patients (seed "
        f"{bootstrap['seed']}), since images of one patient are alike; DeLong's intervals would need one image a patient. "
        "Where a result is perfect or nearly so, the bootstrap is too sure of itself, and the exact limit of as many "
        "patients is taken instead. Resampling can only enlarge a calibration error, so its interval is moved back "
        "by the mean excess."
    )
    if card.get("intended_use"):
        yield Prose(f"From its card: {card['intended_use']}")
    if card.get("limits"):
        yield Findings([str(limit) for limit in card["limits"]])
