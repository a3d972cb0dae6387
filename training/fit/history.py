"""The history of a training: a CSV for programs, a plot for people."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HISTORY, PLOT = "history.csv", "history.png"
_PANELS = ("loss", "accuracy")
_SIDES = (("training, augmented", "{}", "#8a8f98"), ("validation, not augmented", "val_{}", "#0b5cad"))
_FEW = 40

History = Sequence[dict[str, float]]


def write_history(path: Path, history: History) -> None:
    """Write a CSV with one row an epoch, counted from 1.

    Args:
        path: the file.
        history: of `Progress`. A cell is empty if the epoch lacks that figure.
    """
    names = list(dict.fromkeys(name for entry in history for name in entry))
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, ["epoch", *names], lineterminator="\n")
        rows.writeheader()
        rows.writerows({"epoch": place, **entry} for place, entry in enumerate(history, 1))


def read_history(path: Path) -> list[dict[str, float]]:
    """Return the history in a CSV of `write_history`."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{name: float(cell) for name, cell in row.items() if cell and name != "epoch"} for row in rows]


def plot_history(path: Path, history: History) -> None:
    """Plot loss and accuracy by epoch, for training and validation, side by side.

    Args:
        path: the PNG file.
        history: of `Progress`, with at least one entry.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), dpi=110, layout="constrained")
    for axes, name in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
        _draw(axes, name, history)
    # Without date and version in the file, the same numbers give the same bytes.
    figure.savefig(path, metadata={"Software": None})


def _draw(axes: Any, name: str, history: History) -> None:
    from matplotlib.ticker import MaxNLocator

    for label, key, colour in _SIDES:
        points = [
            (epoch, entry[key.format(name)])
            for epoch, entry in enumerate(history, 1)
            if key.format(name) in entry
        ]
        if points:
            # Validation may be measured in some epochs only, so its points are marked.
            marker = "o" if len(points) <= _FEW else None
            axes.plot(*zip(*points, strict=True), label=label, color=colour, marker=marker, markersize=4)
    axes.set(xlabel="epoch", title=name.capitalize(), xlim=(0.5, len(history) + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(color="#e4e6ea", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
