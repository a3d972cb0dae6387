"""The plots of an evaluation's report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from training.evaluation.metrics import LabelledScores, percentiles, resamples
from training.evaluation.ranking import ECE_BINS, Floats, Ranking
from training.evaluation.shares import Share, shares
from training.evaluation.text import percent
from training.html.blocks import Picture
from training.html.pictures import BACTERIAL, DIM, FAINT, INK, NORMAL, PNEUMONIA, VIRAL, figure, style
from worker.inference.triage import OperatingPoint

Json = dict[str, Any]

_GRID = np.linspace(0, 1, 201)
_CORNER_FROM = 0.9
_CORNER = 0.25
_MARKERS = "so^Dv"
_COLUMNS = 40
_KINDS = (
    ("viral pneumonia", 2, VIRAL),
    ("bacterial pneumonia", 1, BACTERIAL),
    ("pneumonia", -1, PNEUMONIA),
)
_SUBGROUP_METRICS = {"auc": "AUC", "recall": "sensitivity", "specificity": "specificity"}


def discrimination(scored: LabelledScores, document: Json) -> Picture:
    """Plot the ROC curve with its pointwise band, the precision-recall curve, and the operating points on both."""
    near = document["auc"] >= _CORNER_FROM
    with style():
        plot, panels = _figure((9.8, 3.6 if near else 4.6), 1, 3 if near else 2)
        band, points = _band(scored, document["bootstrap"]), _distinct(document["operating_points"])
        for panel in panels[:-1]:
            _roc(panel, scored, points, band)
        panels[0].set_title(f"ROC, AUC {document['auc']:.3f}")
        if near:
            panels[1].set(xlim=(-0.01, _CORNER), ylim=(1 - _CORNER, 1.01), title="The corner, enlarged")
            panels[0].get_legend().remove()
        _precision_recall(panels[-1], scored, points, document["prevalence"])
    values = ", ".join(
        f"{point['name']}: sensitivity {point['recall']:.3f}, specificity {point['specificity']:.3f}"
        for point in document["operating_points"]
    )
    return figure(
        plot,
        f"ROC curve with an area of {document['auc']:.3f}, and precision-recall curve. {values}.",
        caption="Shaded: the middle 95 % of the bootstrap's curves. Crosses: the operating points with "
        "their 95 % intervals. Dashed: chance.",
    )


def reliability(scored: LabelledScores, document: Json) -> Picture:
    """Plot the share with pneumonia against the score, in bins of equal mass, and a histogram of the scores."""
    parts = np.array_split(np.argsort(scored.p, kind="stable"), min(ECE_BINS, len(scored)))
    bin_shares = _shares_of(parts, scored, document["bootstrap"])
    scores = np.array([scored.p[part].mean() for part in parts])
    with style():
        plot, (panel, below) = _figure((5.6, 6.4), 2, 1, height_ratios=(4.4, 1), sharex=True)
        panel.plot((0, 1), (0, 1), color=DIM, linewidth=0.8, linestyle="--")
        values = np.array([share.value for share in bin_shares])
        ends = np.array([(share.value - share.low, share.high - share.value) for share in bin_shares]).T
        panel.errorbar(scores, values, yerr=ends, fmt="o", markersize=4, color=INK, elinewidth=0.9)
        panel.set(ylabel="share with pneumonia", ylim=(-0.02, 1.02), xlim=(-0.02, 1.02))
        below.hist(scored.p, bins=_COLUMNS, range=(0, 1), color=DIM)
        below.set(xlabel="score (p_pneumonia)", ylabel="images")
    fewest, most = min(map(len, parts)), max(map(len, parts))
    per_bin = str(most) if fewest == most else f"{fewest} or {most}"
    return figure(
        plot,
        f"Reliability diagram in {len(parts)} bins; calibration error {document['ece']:.3f}.",
        caption=f"{len(parts)} bins of equal mass, {per_bin} images in each, with 95 % intervals. On the dashed "
        "line, scores equal frequencies; below it, scores are too high.",
    )


def reliability_rows(scored: LabelledScores) -> list[tuple[str, int, float, float]]:
    """Return the reliability diagram as rows: range of scores, images, mean score, share with pneumonia."""
    parts = np.array_split(np.argsort(scored.p, kind="stable"), min(ECE_BINS, len(scored)))
    return [
        (
            f"{scored.p[part].min():.3f} to {scored.p[part].max():.3f}",
            len(part),
            float(scored.p[part].mean()),
            float(scored.pneumonia[part].mean()),
        )
        for part in parts
    ]


def histogram(scored: LabelledScores, point: OperatingPoint) -> Picture:
    """Plot histograms of the scores by class, with threshold and band."""
    kinds = {
        name: (scored.p[scored.pneumonia & (scored.subtype == code)], colour) for name, code, colour in _KINDS
    }
    kinds["without pneumonia"] = (scored.p[~scored.pneumonia], NORMAL)
    rows = [(name, *kinds[name]) for name in reversed(kinds) if len(kinds[name][0])]
    with style():
        plot, panels = _figure((9.8, 0.6 + 1.35 * len(rows)), len(rows), 1, sharex=True, squeeze=False)
        for panel, (name, p, colour) in zip(panels[:, 0], rows, strict=True):
            panel.axvspan(point.band_low, point.band_high, color=FAINT, zorder=0)
            panel.hist(p, bins=_COLUMNS, range=(0, 1), color=colour)
            panel.axvline(point.threshold, color=INK, linewidth=1, linestyle="--")
            panel.set(yscale="log", ylim=(0.7, None), ylabel="images", xlim=(-0.01, 1.01))
            panel.yaxis.set_major_formatter("{x:g}")
            panel.set_title(f"{name}, {len(p):,} images", fontweight="normal")
        panels[-1, 0].set_xlabel("score (p_pneumonia)")
    return figure(
        plot,
        "Histogram of the scores of images without and with pneumonia.",
        caption=f"Dashed: the threshold, {point.threshold:.3f}. Grey: the uncertain band, {point.band_low:.3f} to "
        f"{point.band_high:.3f}. The vertical scale is logarithmic, to show the few images in the middle.",
    )


def forest(groups: Sequence[tuple[str, Json]], document: Json) -> Picture:
    """Plot AUC, sensitivity and specificity of each subgroup against those of all images."""
    with style():
        plot, panels = _figure((9.8, 0.9 + 0.27 * len(groups)), 1, len(_SUBGROUP_METRICS), sharey=True)
        places = np.arange(len(groups))[::-1]
        for panel, (metric, title) in zip(panels, _SUBGROUP_METRICS.items(), strict=True):
            panel.axvspan(*document[f"{metric}_ci"], color=FAINT, zorder=0)
            panel.axvline(document[metric], color=DIM, linewidth=1, linestyle="--")
            for place, (_, group) in zip(places, groups, strict=True):
                low, high = group[f"{metric}_ci"]
                panel.plot((low, high), (place, place), color=INK, linestyle="-", linewidth=1)
                panel.plot(group[metric], place, "o", color=INK, markersize=4)
            panel.set(title=title, ylim=(-0.6, len(groups) - 0.4))
            panel.grid(visible=False, axis="y")
        panels[0].set_yticks(places, [name for name, _ in groups])
    return figure(
        plot,
        "AUC, sensitivity and specificity of each subgroup, with intervals; the table below has the same numbers.",
        caption="Dots and lines: a subgroup and its 95 % interval. Dashed and grey: all images and theirs.",
    )


def _figure(size: tuple[float, float], rows: int, columns: int, **more: Any) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    plot = Figure(figsize=size)
    return plot, plot.subplots(rows, columns, **more)


def _roc(panel: Any, scored: LabelledScores, points: Sequence[Json], band: tuple[Floats, Floats]) -> None:
    ranked = scored.ranking
    panel.plot((0, 1), (0, 1), color=DIM, linewidth=0.8, linestyle="--")
    panel.fill_between(_GRID, *band, color=NORMAL, alpha=0.15, linewidth=0)
    panel.plot(*_curve(ranked), color=NORMAL, linestyle="-", drawstyle="default")
    for point, marker in zip(points, _MARKERS, strict=False):
        x, y = 1 - point["specificity"], point["recall"]
        x_errors = [
            [point["specificity_ci"][1] - point["specificity"]],
            [point["specificity"] - point["specificity_ci"][0]],
        ]
        _cross(panel, (x, y), x_errors, _ends(point, "recall"), marker, point["name"])
    panel.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    panel.set_box_aspect(1)
    panel.legend(loc="lower right")


def _precision_recall(panel: Any, scored: LabelledScores, points: Sequence[Json], prevalence: float) -> None:
    ranked = scored.ranking
    hits = ranked.sick.sum() - ranked.sick_below[:-1]
    called = hits + ranked.well.sum() - ranked.well_below[:-1]
    panel.axhline(prevalence, color=DIM, linewidth=0.8, linestyle="--")
    panel.plot(hits / ranked.sick.sum(), hits / called, color=NORMAL, linestyle="-")
    for point, marker in zip(points, _MARKERS, strict=False):
        if point["precision"] is not None:
            place = point["recall"], point["precision"]
            _cross(panel, place, _ends(point, "recall"), _ends(point, "precision"), marker, point["name"])
    panel.set(xlabel="recall (sensitivity)", ylabel="precision", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    panel.set_title(f"Precision, {percent(prevalence)} with pneumonia")
    panel.set_box_aspect(1)


def _distinct(points: Sequence[Json]) -> list[Json]:
    """Return the operating points; points with one threshold share an entry."""
    by_threshold: dict[float, Json] = {}
    for point in points:
        same = by_threshold.get(point["threshold"])
        by_threshold[point["threshold"]] = (
            point if same is None else same | {"name": f"{same['name']}, {point['name']}"}
        )
    return list(by_threshold.values())


def _cross(panel: Any, place: tuple[float, float], across: Any, along: Any, marker: str, name: str) -> None:
    panel.errorbar(
        *place, xerr=across, yerr=along, fmt=marker, color=INK, markersize=4.5, elinewidth=0.9, label=name
    )


def _ends(point: Json, name: str) -> list[list[float]]:
    low, high = point[f"{name}_ci"]
    return [[point[name] - low], [high - point[name]]]


def _curve(ranked: Ranking) -> tuple[Floats, Floats]:
    """Return false positive rate and sensitivity, both rising."""
    sick, well = ranked.sick_below, ranked.well_below
    return 1 - well[::-1] / well[-1], 1 - sick[::-1] / sick[-1]


def _band(scored: LabelledScores, bootstrap: Json) -> tuple[Floats, Floats]:
    """Return the lower and upper sensitivity at each false positive rate of the grid."""
    samples = (sample.ranking for sample in resamples(scored, bootstrap["repeats"], bootstrap["seed"]))
    curves = np.array([np.interp(_GRID, *_curve(ranked)) for ranked in samples if ranked.has_both])
    low, high = np.array([percentiles(column, np.nan) for column in curves.T]).T
    return low, high


def _shares_of(parts: Sequence[Any], scored: LabelledScores, bootstrap: Json) -> list[Share]:
    masks = {
        str(place): (scored.pneumonia, np.isin(np.arange(len(scored)), part))
        for place, part in enumerate(parts)
    }
    return list(shares(scored, masks, bootstrap["repeats"], bootstrap["seed"]).values())
