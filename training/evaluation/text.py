"""The results of an evaluation as text for a terminal."""

from __future__ import annotations

from typing import Any

# The meaning of each metric, in the order in which they are shown.
MEANINGS = {
    "auc": "chance that an image with pneumonia scores above one without",
    "recall": "sensitivity: positives among images with pneumonia",
    "specificity": "negatives among images without pneumonia",
    "precision": "images with pneumonia among positives",
    "f1": "harmonic mean of recall and precision",
    "accuracy": "correct among all images",
    "sensitivity_at_specificity_90": "highest on the ROC curve",
    "specificity_at_sensitivity_95": "highest on the ROC curve",
    "ece": "calibration error, 15 bins of equal mass",
    "brier": "mean squared error of the score",
    "three_class_accuracy": "correct among normal, bacterial and viral",
}
_SUBGROUP = ("auc", "recall", "specificity")


NAMES = {
    "auc": "AUC",
    "recall": "sensitivity (recall)",
    "f1": "F1",
    "sensitivity_at_specificity_90": "sensitivity at specificity 90\u00a0%",
    "specificity_at_sensitivity_95": "specificity at sensitivity 95\u00a0%",
    "ece": "calibration error (ECE)",
    "brier": "Brier score",
    "three_class_accuracy": "accuracy of three classes",
}


def as_text(document: dict[str, Any]) -> str:
    """Return the document of `nightread evaluate --json` as text."""
    lines = [
        *_head(document),
        "",
        f"{'':32}value  95 % interval",
        *(f"{name:30}{figure(document, name):24}{meaning}" for name, meaning in MEANINGS.items()),
        "",
        f"A perfectly calibrated model would have an ece of {document['ece_by_chance']:.3f} here by chance alone.",
        "",
        *_confusion(document["confusion"]),
        *_weighted(document["weighted"]),
        "",
        *_verdicts(document["verdicts_by_truth"]),
        *(line for mix in document["per_1000"] for line in ("", *_per_1000(mix))),
    ]
    for trait, groups in (document["subgroups"] | document["subgroup_pairs"]).items():
        lines += ["", *(_subgroup(group_name(trait, name), group) for name, group in groups.items())]
    return "\n".join(lines).replace("\u00a0", " ")


def _weighted(section: dict[str, Any] | None) -> list[str]:
    if section is None:
        return []
    stands_for = f"{section['stands_for']:,.1f}".removesuffix(".0")
    names = ("recall", "specificity", "precision", "prevalence")
    return [
        "",
        f"With the weights of the table, these images stand for {stands_for}. All other figures count each image once.",
        *(f"{name:30}{figure(section, name)}" for name in names),
    ]


def percent(share: float) -> str:
    """Return a share as text with a non-breaking space, for instance `47.5 %`."""
    return f"{100 * share:.1f}\u00a0%"


def group_name(trait: str, value: str) -> str:
    """Return the name of a subgroup, for instance `age 18-39`, or `age 18-39, sex F` for a pair."""
    parts = zip(trait.split(", "), value.split(", "), strict=True)
    return ", ".join(f"{name} {what}" for name, what in parts)


def figure(document: dict[str, Any], name: str) -> str:
    """Return a metric and its interval, for instance `0.958  [0.951, 0.965]`."""
    if document[name] is None:
        return "  not defined"
    low, high = document[f"{name}_ci"]
    return f"  {document[name]:.3f}  [{low:.3f}, {high:.3f}]"


def _head(document: dict[str, Any]) -> list[str]:
    model, point = document["model"], document["operating_point"]
    reasons = document["turned_away_reasons"].items()
    listed = f" ({', '.join(f'{code} {count}' for code, count in reasons)})" if reasons else ""
    scored = f"{document['n']:,} images of {document['patients']:,} patients"
    band = f"{point['band_low']:.4f} to {point['band_high']:.4f}"
    return [
        f"{model['name']} {model['version']}, sha256 {model['sha256'][:12]}",
        f"{scored}, {percent(document['prevalence'])} with pneumonia; {document['turned_away']} rejected{listed}",
        *(
            []
            if document["far"] is None
            else [f"{document['far']} of the {document['n']:,} are far from the training data"]
        ),
        f"operating point {point['name']}: positive from {point['threshold']:.4f}, uncertain from {band}",
    ]


def _confusion(counts: dict[str, int]) -> list[str]:
    return [
        f"{'':32}{'positive':>22}{'negative':>22}",
        f"{'pneumonia':32}{counts['true_positive']:>8} true positive{counts['false_negative']:>7} false negative",
        f"{'normal':32}{counts['false_positive']:>7} false positive{counts['true_negative']:>8} true negative",
    ]


def _verdicts(by_truth: dict[str, dict[str, int]]) -> list[str]:
    names = list(next(iter(by_truth.values())))
    rows = [
        f"{truth:32}" + "".join(f"{counts[name]:>11}" for name in names) for truth, counts in by_truth.items()
    ]
    return [f"{'':32}" + "".join(f"{name:>11}" for name in names), *rows]


def _per_1000(mix: dict[str, Any]) -> list[str]:
    if mix["pneumonia"]["flagged"] is None or mix["normal"]["flagged"] is None:
        return ["Expected results for 1,000 images are not defined: one class is missing."]
    names = [name for name in mix["pneumonia"] if not name.endswith("_ci")]
    rows = [
        f"{truth:32}" + "".join(f"{mix[truth][name]:>11.0f}" for name in names)
        for truth in ("pneumonia", "normal")
    ]
    header = f"{'of 1,000 images, ' + percent(mix['prevalence']) + ' with pneumonia':32}"
    return [header + "".join(f"{name:>11}" for name in names), *rows]


def _subgroup(name: str, group: dict[str, Any]) -> str:
    label = f"{name}, n = {group['n']}"
    if group.get("suppressed"):
        return f"{label:32}  too few images"
    return f"{label:32}" + " ".join(f"  {metric}{figure(group, metric)}" for metric in _SUBGROUP)
