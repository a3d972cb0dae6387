"""The plots of an exploration. Each function draws one plot from arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from numpy.typing import NDArray

from training.exploration.shortcuts import Number, Shortcut
from training.html.blocks import Picture
from training.html.pictures import BACTERIAL, DIM, INK, NORMAL, PNEUMONIA, VIRAL, figure, style

COLOURS = {
    "normal": NORMAL,
    "bacterial": BACTERIAL,
    "viral": VIRAL,
    "pneumonia": PNEUMONIA,
}
_DASHES: dict[str, Any] = {"normal": "-", "bacterial": "-", "viral": (0, (5, 1.5)), "pneumonia": "-"}
_WIDE = 9.8
_ALARM = "#a3160d"
_BINS = 40

Kinds = Sequence[str]
Flags = NDArray[np.bool_]


@style()
def class_balance(counts: Mapping[str, Mapping[str, int]]) -> Picture:
    """Plot the images of each kind in each split: one bar a split, in shares, labelled with counts."""
    plot = Figure(figsize=(_WIDE, 0.2 + 0.38 * len(counts)))
    axes = plot.subplots()
    for row, kinds in enumerate(counts.values()):
        total, left = sum(kinds.values()), 0.0
        for kind, count in kinds.items():
            share = count / max(total, 1)
            axes.barh(row, share, left=left, color=COLOURS[kind], height=0.72, edgecolor="white")
            if share > 0.06:  # noqa: PLR2004 - narrower ones have no room for words
                ink = INK if kind == "viral" else "white"
                words = f"{kind}  {count:,}"
                axes.text(left + share / 2, row, words, color=ink, ha="center", va="center")
            left += share
        axes.text(1.01, row, f"{total:,}", va="center")
    axes.set(xlim=(0, 1.08), yticks=range(len(counts)), yticklabels=counts)
    axes.invert_yaxis()
    _bare(axes)
    description = "; ".join(f"{split}: {_counted(kinds)}" for split, kinds in counts.items())
    return figure(plot, f"Share of each class in each split. {description}.")


@style()
def exposure(histogram: NDArray[np.float32], kinds: Kinds) -> Picture:
    """Plot the mean histogram of grey values of each kind; the band covers the middle half of its images."""
    plot = Figure(figsize=(_WIDE, 3.1))
    axes = plot.subplots()
    grey = (np.arange(histogram.shape[1]) + 0.5) * 256 / histogram.shape[1]
    for kind in _present(kinds):
        of = 100 * histogram[_are(kinds, kind)]
        low, high = np.quantile(of, (0.25, 0.75), axis=0)
        axes.fill_between(grey, low, high, color=COLOURS[kind], alpha=0.13, linewidth=0)
        axes.plot(grey, of.mean(axis=0), color=COLOURS[kind], linestyle=_DASHES[kind], label=kind)
    # The bin of black pixels would dwarf the others.
    axes.set(xlim=(0, 256), ylim=(0, 1.25 * _second_highest(histogram, kinds)))
    axes.set(xlabel="grey value, 0 black to 255 white", ylabel="% of the pixels")
    axes.legend(loc="upper right")
    return figure(plot, "Histograms of the grey values, one line a class; the table below has their means.")


@style()
def distributions(numbers: Sequence[Number], shortcuts: Sequence[Shortcut], kinds: Kinds) -> Picture:
    """Plot the distribution of each number by kind, with its AUC."""
    named = {number.name: number for number in numbers if not number.yes_or_no}
    pairs = [(shortcut, named[shortcut.name]) for shortcut in shortcuts if shortcut.name in named]
    rows = -(-len(pairs) // 3)
    plot = Figure(figsize=(_WIDE, 2.05 * rows))
    for place, (shortcut, number) in enumerate(pairs):
        axes = plot.add_subplot(rows, 3, place + 1)
        _densities(axes, number, kinds)
        title = f"{_TITLES.get(shortcut.name, shortcut.name)}   AUC {shortcut.strength:.2f}"
        axes.set_title(title, color=_ALARM if shortcut.telling else INK)
        axes.set_yticks([])
        axes.grid(visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.7g}"))
        axes.spines["left"].set_visible(False)
    _kinds_above(plot, kinds)
    description = ", ".join(f"{shortcut.name} {shortcut.strength:.2f}" for shortcut, _ in pairs)
    return figure(plot, f"Distributions by class of each number, with its AUC: {description}.")


@style()
def sizes(width_height: NDArray[np.int64], kinds: Kinds) -> Picture:
    """Plot width against height of each image."""
    plot = Figure(figsize=(5.2, 3.6))
    axes = plot.subplots()
    for kind in _present(kinds):
        of = width_height[_are(kinds, kind)]
        axes.plot(of[:, 0], of[:, 1], ".", color=COLOURS[kind], markersize=4, alpha=0.5, label=kind)
    axes.set(xlabel="width in pixels", ylabel="height in pixels", xlim=(0, None), ylim=(0, None))
    axes.legend(loc="lower right", markerscale=2)
    return figure(plot, "Width against height of each image, by class.", form="png")


@style()
def images_per_patient(counts: Sequence[int]) -> Picture:
    """Plot the number of patients by their number of images."""
    most = max(counts)
    plot = Figure(figsize=(5.2, 2.4))
    axes = plot.subplots()
    heights = np.bincount(counts, minlength=most + 1)[1:]
    bars = axes.bar(range(1, most + 1), heights, color=INK, alpha=0.75)
    if most <= 12:  # noqa: PLR2004 - more numbers than that do not fit above the bars
        axes.bar_label(bars, [f"{height:,}" if height else "" for height in heights], color=DIM)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
    axes.set(xlabel="images of one patient", ylabel="patients" if most > 12 else "")  # noqa: PLR2004
    axes.set_xlim(0.4, max(most, 8) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=False, axis="x")
    description = ", ".join(f"{height} with {count}" for count, height in enumerate(heights, 1) if height)
    return figure(plot, f"Patients by their number of images: {description}.")


@style()
def ages(age_years: NDArray[np.float64], kinds: Kinds) -> Picture:
    """Plot the ages of the images' patients by kind, in bands of five years."""
    plot = Figure(figsize=(5.2, 2.6))
    axes = plot.subplots()
    bands: list[float] = np.arange(0, float(np.nanmax(age_years)) + 10, 5).tolist()
    for kind in _present(kinds):
        of = age_years[_are(kinds, kind) & np.isfinite(age_years)]
        axes.hist(
            of, bands, histtype="step", color=COLOURS[kind], linestyle=_DASHES[kind], label=kind, lw=1.8
        )
    axes.set(xlabel="age in years", ylabel="images")
    axes.legend()
    return figure(plot, "Ages by class, in bands of five years.")


_TITLES = {
    "brightness": "mean grey value",
    "contrast": "spread of grey values",
    "black": "share of black pixels",
    "white": "share of white pixels",
    "sharpness": "sharpness",
    "bytes": "bytes",
    "width": "width",
    "height": "height",
    "aspect": "width / height",
    "coarseness": "JPEG quantisation",
    "age_years": "age",
}


def _densities(axes: Any, number: Number, kinds: Kinds) -> None:
    """Draw outlines of histograms, each of area 1, without the most extreme half per cent at either end."""
    known = number.values[np.isfinite(number.values)]
    low, high = np.quantile(known, (0.005, 0.995))
    if high == low:
        low, high = known.min(), known.max()
    bins = np.linspace(low, high, min(_BINS, max(8, len(known) // 15)))
    for kind in _present(kinds):
        of = number.values[_are(kinds, kind) & np.isfinite(number.values)]
        if len(of):
            values = np.clip(of, low, high)
            weights = np.full(len(of), 1 / len(of))
            line = {"color": COLOURS[kind], "linestyle": _DASHES[kind], "linewidth": 1.5}
            axes.hist(values, bins.tolist(), weights=weights, histtype="step", **line)


def _kinds_above(plot: Figure, kinds: Kinds) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=COLOURS[k], linestyle=_DASHES[k], label=k) for k in _present(kinds)]
    plot.legend(handles=handles, loc="outside upper left", ncols=len(handles))


def _second_highest(histogram: NDArray[np.float32], kinds: Kinds) -> float:
    means = [100 * histogram[_are(kinds, kind)].mean(axis=0) for kind in _present(kinds)]
    return max(float(np.sort(mean[1:-1])[-1]) for mean in means)


def _present(kinds: Kinds) -> list[str]:
    return [kind for kind in COLOURS if kind in kinds]


def _are(kinds: Kinds, kind: str) -> Flags:
    return np.array([image_kind == kind for image_kind in kinds], dtype=bool)


def _bare(axes: Any) -> None:
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.tick_params(left=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())
