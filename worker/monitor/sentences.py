"""Puts a change into words. Pure."""

from __future__ import annotations

from datetime import date

from worker.monitor.causes import Cause
from worker.monitor.estimates import Estimate
from worker.monitor.figures import Figure

_NAMES = {
    Figure.FLAGGED: "the share of flagged images",
    Figure.REJECTED: "the share of rejected images",
    Figure.SCORES: "the upper part of the low scores",
    Figure.SPECIFICITY: "the specificity",
    Figure.SENSITIVITY: "the sensitivity",
    Figure.FOUND: "the share of images that are flagged or uncertain and have signs",
    Figure.OVERRIDES: "the share of overridden verdicts",
    Figure.FAR: "the share of images far from the training data",
}
_CAUSES = {
    Cause.PATIENTS: "More or fewer patients have signs; the model works as before.",
    Cause.MODEL: "The model works differently, or the images are other ones: the readings or the low scores show it.",
    Cause.BOTH: "The share of patients with signs changed, and so did the model or the images.",
    Cause.UNDECIDED: "Whether the patients or the model changed is undecided: there are too few readings to tell.",
}
_BY_ITSELF = {
    Figure.REJECTED: "The files or the machines that send them may have changed.",
    Figure.FAR: "The patients, or the machines and their settings, may have changed: the model's figures hold for images like "
    "those that it has learnt from.",
    Figure.OVERRIDES: "The reader, the images or the model may have changed.",
}


def sentence(
    figure: Figure,
    group: tuple[str, str],
    since: date,
    before: Estimate,
    now: Estimate,
    cause: Cause,
    *,
    rose: bool,
) -> str:
    """Return sentences that say what changed, since when, by how much, and why.

    Args:
        figure: what changed.
        group: the dimension and the value of the group of images.
        since: the first day of the change.
        before: the figure before it.
        now: the figure since then.
        cause: what explains it.
        rose: whether the figure rose.
    """
    change = "rose" if rose else "fell"
    name = _NAMES[figure]
    what = f"{name[0].upper()}{name[1:]} {change} about {since.isoformat()} ({group_name(group)})"
    return f"{what}: {_told(before)} before, {_told(now)} since. {_BY_ITSELF.get(figure, _CAUSES[cause])}"


def group_name(group: tuple[str, str]) -> str:
    """Return the words for a group of images: "all images", or its dimension and value."""
    dimension, value = group
    return f"{dimension} {value}" if value and dimension != "all" else "all images"


def _told(estimate: Estimate) -> str:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "not known"
    return f"{estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}]"
