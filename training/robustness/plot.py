"""The robustness table as a plot: one panel a series, and one for the changes without an amount."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import ceil
from typing import Any

from training.html.blocks import Picture
from training.html.pictures import BACTERIAL, DIM, FAINT, NORMAL, figure, style

Json = dict[str, Any]

_COLUMNS = 3
_PANEL = (2.77, 1.8)
_LINES = {"sensitivity": (BACTERIAL, "-", "o", -0.06), "specificity": (NORMAL, "--", "s", 0.06)}
_OTHERS = "other changes"
_MOST = 0.5
_HOLLOW = "at least half of the images are rejected or marked"


def plot(document: Json) -> Picture:
    """Plot the change of sensitivity and specificity in each cell, with intervals.

    A hollow marker stands for a cell in which at least half of the images are rejected or marked.
    """
    from matplotlib.figure import Figure

    panels = _panels(document["cells"])
    rows = ceil(len(panels) / _COLUMNS)
    with style():
        drawing = Figure(figsize=(_COLUMNS * _PANEL[0], rows * _PANEL[1] + 0.4))
        grid = drawing.subplots(rows, _COLUMNS, sharey=True, squeeze=False)
        for panel, (title, cells) in zip(grid.flat, panels, strict=False):
            _panel(panel, title, cells, document["limit"])
        for panel in grid.flat[len(panels) :]:
            panel.set_visible(False)
        for row in grid:
            row[0].set_ylabel("change, points")
        grid.flat[0].plot([], [], "o", color=DIM, mfc="white", markersize=4.5, label=_HOLLOW)
        handles, labels = grid.flat[0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside upper left", ncols=len(labels))
    worse = document["worse_without_mark"]
    return figure(
        drawing,
        f"Change of sensitivity and specificity under {len(document['cells'])} changes of the picture; "
        f"{len(worse)} are worse by more than {100 * document['limit']:g} points without a mark.",
        caption=f"Grey: within the limit. Hollow: {_HOLLOW}.",
    )


def _panels(cells: Sequence[Json]) -> list[tuple[str, list[Json]]]:
    series = [(name, list(group)) for name, group in groupby(cells, key=lambda cell: cell["series"])]
    single = [group[0] for _, group in series if len(group) == 1]
    return [
        *((name, group) for name, group in series if len(group) > 1),
        *([(_OTHERS, single)] * bool(single)),
    ]


def _panel(panel: Any, title: str, cells: Sequence[Json], limit: float) -> None:
    panel.axhspan(-100 * limit, 100 * limit, color=FAINT, alpha=0.6, zorder=0, linewidth=0)
    panel.axhline(0, color=DIM, linewidth=0.6)
    for name, (colour, dashes, marker, shift) in _LINES.items():
        key = f"{name}_change"
        places = [place for place, cell in enumerate(cells) if cell[key] is not None]
        values = [100 * cells[place][key] for place in places]
        if title != _OTHERS:
            panel.plot(places, values, color=colour, linestyle=dashes, linewidth=1.2)
        for place, value in zip(places, values, strict=True):
            ends = cells[place][f"{key}_ci"]
            spread = [[value - 100 * ends[0]], [100 * ends[1] - value]]
            fill = "white" if cells[place]["caught"] >= _MOST else colour
            panel.errorbar(
                place + shift,
                value,
                spread,
                color=colour,
                fmt=marker,
                markersize=4.5,
                elinewidth=0.9,
                mfc=fill,
            )
        panel.plot([], [], color=colour, linestyle=dashes, marker=marker, markersize=4.5, label=name)
    labels = [_label(cell) for cell in cells]
    turned = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if title == _OTHERS else {}
    panel.set_xticks(range(len(cells)), labels, **turned)
    panel.grid(visible=False, axis="x")
    unit = cells[0]["unit"].strip()
    panel.set_title(f"{title}, {unit}" if unit and title != _OTHERS else title)


def _label(cell: Json) -> str:
    return f"{cell['amount']:g}" if cell["amount"] is not None else str(cell["series"])
