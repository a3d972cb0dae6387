"""The tables of an evaluation's report: decisions, expected results, and subgroups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from training.evaluation import plots
from training.evaluation.evaluate import FEWEST_PATIENTS, SMALLEST_GROUP
from training.evaluation.scoring import ScoredImages
from training.evaluation.text import group_name, percent
from training.html.blocks import Block, Cell, Folded, Prose, Table
from worker.inference.triage import Verdict

Json = dict[str, Any]


def interval(of: Json, name: str, digits: int = 3) -> str | None:
    """Return a value and its interval as text, for instance `0.958 [0.951, 0.965]`; None if not defined."""
    if of[name] is None:
        return None
    low, high = of[f"{name}_ci"]
    return f"{of[name]:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def decisions(images: ScoredImages, document: Json) -> Iterator[Block]:
    """Yield the classifications and verdicts by label."""
    point, counts = document["operating_point"], document["confusion"]
    yield Prose(
        f"An image counts as positive from a score of {point['threshold']:.3f}. In the reading queue it is clear "
        f"below {point['band_low']:.3f}, flagged from {point['band_high']:.3f}, and uncertain between."
    )
    yield _counts(
        "Positive or negative, by label",
        {
            "pneumonia": {"positive": counts["true_positive"], "negative": counts["false_negative"]},
            "normal": {"positive": counts["false_positive"], "negative": counts["true_negative"]},
        },
    )
    yield _counts("Verdict, by label", document["verdicts_by_truth"])
    if document["confusion_of_classes"] is not None:
        yield _counts("Most probable of the three classes, by label", document["confusion_of_classes"])
    yield plots.histogram(images.scored, images.point)


def _counts(caption: str, rows: dict[str, dict[str, int]]) -> Table:
    names = list(next(iter(rows.values())))
    return Table(["label", *names, "all"], [_counted(truth, row) for truth, row in rows.items()], caption)


def _counted(truth: str, row: dict[str, int]) -> list[Cell]:
    total = sum(row.values())
    return [
        truth,
        *(f"{count:,} ({percent(count / total)})" if total else "0" for count in row.values()),
        total,
    ]


def consequences(document: Json) -> Iterator[Block]:
    """Yield the expected results for 1,000 images, at each prevalence."""
    names = [verdict.value for verdict in Verdict]
    for mix in document["per_1000"]:
        if mix["pneumonia"]["flagged"] is None or mix["normal"]["flagged"] is None:
            yield Prose("Expected results are not defined: one class is missing.")
            return
        share = mix["prevalence"]
        among = {name: mix[f"pneumonia_among_{name}"] for name in names}
        yield Table(
            ["of 1,000 images", *names],
            [
                (
                    f"{1000 * share:.0f} with pneumonia",
                    *(interval(mix["pneumonia"], name, 0) for name in names),
                ),
                (f"{1000 * (1 - share):.0f} without", *(interval(mix["normal"], name, 0) for name in names)),
                (
                    "share with pneumonia",
                    *(_per_cent(mix, f"pneumonia_among_{name}", among[name]) for name in names),
                ),
            ],
            f"If {percent(share)} of the images show pneumonia"
            + (", as in this set" if mix is document["per_1000"][0] else ", as requested"),
        )
    yield Prose(
        "The shares of verdicts within each class are taken from this set. Everything else depends on how common "
        "pneumonia is where the model is used: the option --prevalence adds a table for that share."
    )


def _per_cent(mix: Json, name: str, value: float | None) -> str | None:
    if value is None:
        return None
    low, high = mix[f"{name}_ci"]
    return f"{percent(value)} [{100 * low:.1f}, {100 * high:.1f}]"


def subgroups(document: Json) -> Iterator[Block | Folded]:
    """Yield each subgroup's metrics beside those of all images; nothing if no trait is known."""
    if not document["subgroups"]:
        return
    yield from _groups(document["subgroups"], document)
    yield Prose(
        f"A dash means fewer than {SMALLEST_GROUP} images, or fewer than {FEWEST_PATIENTS} patients with or without "
        "pneumonia: figures of such groups are mostly chance. About one in twenty 95 % intervals misses the true "
        "value, and groups also differ in other diseases."
    )
    if document["subgroup_pairs"]:
        yield Folded(
            "By two traits at once, for groups that are large enough",
            list(_groups(document["subgroup_pairs"], document)),
        )


def _groups(by_trait: dict[str, dict[str, Json]], document: Json) -> Iterator[Block]:
    groups = [
        (group_name(trait, value), group)
        for trait, named in by_trait.items()
        for value, group in named.items()
    ]
    measured = [(name, group) for name, group in groups if _has_curve(group)]
    if measured and document["auc"] is not None:
        yield plots.forest(measured, document)
    yield Table(
        ["group", "images", "patients", "pneumonia", "AUC", "sensitivity", "specificity"],
        [_group_row(name, group) for name, group in groups],
    )


def _has_curve(group: Json) -> bool:
    return not group.get("suppressed") and group["auc"] is not None


def _group_row(name: str, group: Json) -> list[Cell]:
    if group.get("suppressed"):
        return [name, group["n"], None, None, None, None, None]
    figures = [interval(group, metric) for metric in ("auc", "recall", "specificity")]
    return [name, group["n"], group["patients"], percent(group["prevalence"]), *figures]
