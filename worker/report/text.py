"""The morning report as plain text for a terminal or a mail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from worker import DISCLAIMER
from worker.ledger.reports import RunFigures
from worker.report import content
from worker.report.content import READINGS_TABLE, REJECTED_COLUMNS, SHOWN, Report
from worker.terminal import printable


def as_text(report: Report) -> str:
    """Return the report as lines of text without control characters."""
    figures = report.figures
    counts = figures.run.file_counts
    lines = [
        f"Nightread, run {printable(figures.run.name)}",
        DISCLAIMER,
        "",
        content.file_count_sentence(figures),
        f"  {counts.equation}",
        "",
        f"Flagged or uncertain: {counts.flagged} ({counts.uncertain} uncertain), {counts.unread} unread.",
        *filter(None, [content.population_sentence(figures), content.distance_sentence(counts)]),
        *_scored(figures, figures.flagged, counts.flagged, "flagged or uncertain"),
        "",
        f"Clear: {counts.scored - counts.flagged}.",
        *_scored(figures, figures.clear, counts.scored - counts.flagged, "clear"),
        "",
        content.readings_sentence(figures),
        *_table(READINGS_TABLE, content.readings_table(figures)),
        "",
        content.rejected_sentence(figures),
        *_table(REJECTED_COLUMNS, [content.rejected_row(image) for image in figures.rejected[:SHOWN]]),
    ]
    if figures.slowest:
        slowest = ", ".join(
            f"image {row['image']} ({row['compute_ms']:.0f} ms)" for row in content.slowest_rows(figures)
        )
        lines += ["", f"Slowest: {slowest}."]
    if report.look_at:
        lines += ["", "To do:", *(f"  {printable(sentence)}" for sentence in report.look_at)]
    return "\n".join(lines) + "\n"


def _scored(figures: RunFigures, images: Sequence[Any], total: int, kind: str) -> list[str]:
    """Return the first of these images as a table, and the sentence that says if there are more."""
    shown = images[:SHOWN]
    table = _table(content.scored_columns(figures), [content.flagged_row(figures, image) for image in shown])
    return [*table, *filter(None, [content.cut_sentence(len(shown), total, kind)])]


def _table(names: tuple[str, ...], rows: list[dict[str, object]]) -> list[str]:
    if not rows:
        return []
    cells = [names, *([printable(row[name]) for name in names] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
    return [
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells
    ]
