"""The morning report as an HTML page that needs no other file."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from worker import DISCLAIMER
from worker.ledger.reports import RunFigures
from worker.report import content
from worker.report.content import (
    READINGS_TABLE,
    REJECTED_COLUMNS,
    SHOWN,
    SLOWEST_COLUMNS,
    Report,
)


def as_html(report: Report) -> str:
    """Return the report as one HTML document; names of files and runs are escaped."""
    figures = report.figures
    counts = figures.run.file_counts
    body = [
        f"<h1>Run {html.escape(figures.run.name)}</h1>",
        f"<p><strong>{html.escape(DISCLAIMER)}</strong></p>",
        f"<p class={'good' if counts.balanced else 'bad'}>{html.escape(content.file_count_sentence(figures))}<br>",
        f"{html.escape(counts.equation)}</p>",
        f"<h2>Flagged or uncertain: {counts.flagged} ({counts.uncertain} uncertain), {counts.unread} unread</h2>",
        *_paragraphs(content.population_sentence(figures), content.distance_sentence(counts)),
        _scored(figures, figures.flagged, counts.flagged, "flagged or uncertain"),
        f"<h2>Clear: {counts.scored - counts.flagged}</h2>",
        _scored(figures, figures.clear, counts.scored - counts.flagged, "clear"),
        f"<h2>{html.escape(content.readings_sentence(figures).rstrip('.'))}</h2>",
        _html_table(READINGS_TABLE, content.readings_table(figures)),
        f"<h2>{html.escape(content.rejected_sentence(figures).rstrip('.'))}</h2>",
        _html_table(REJECTED_COLUMNS, [content.rejected_row(image) for image in figures.rejected[:SHOWN]]),
        "<h2>Slowest images</h2>",
        _html_table(SLOWEST_COLUMNS, content.slowest_rows(figures)),
        "<h2>To do</h2>",
        "".join(f"<p>{html.escape(sentence)}</p>" for sentence in report.look_at) or "<p>Nothing.</p>",
    ]
    return _PAGE.format(title=html.escape(figures.run.name), body="\n".join(body))


def _paragraphs(*sentences: str) -> list[str]:
    """Return the sentences that say something, each as a paragraph."""
    return [f"<p>{html.escape(sentence)}</p>" for sentence in sentences if sentence]


def _scored(figures: RunFigures, images: Sequence[Any], total: int, kind: str) -> str:
    """Return the first of these images as a table, and the sentence that says if there are more."""
    shown = images[:SHOWN]
    table = _html_table(
        content.scored_columns(figures), [content.flagged_row(figures, image) for image in shown]
    )
    cut = content.cut_sentence(len(shown), total, kind)
    return f"{table}<p>{html.escape(cut)}</p>" if cut else table


def _html_table(names: tuple[str, ...], rows: list[dict[str, object]]) -> str:
    if not rows:
        return "<p>None.</p>"
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    lines = ("".join(f"<td>{html.escape(str(row[name]))}</td>" for name in names) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="table" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Nightread: {title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<style>
:root {{ color-scheme: light dark; --good: #161; --edge: #ccc; }}
body {{ background: Canvas; color: CanvasText; font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }}
h2 {{ margin-top: 2rem; }}
.table {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; vertical-align: baseline; padding: .25rem .75rem .25rem 0; border-top: 1px solid var(--edge); }}
th {{ border: 0; }}
.bad {{ background: #a11; color: #fff; padding: 1rem; }} .good {{ color: var(--good); }}
@media (prefers-color-scheme: dark) {{ :root {{ --good: #7d7; --edge: #444; }} }}
@media print {{
  :root {{ color-scheme: light; --good: #161; --edge: #ccc; }}
  body {{ font-size: 10pt; margin: 0; max-width: none; padding: 0; }}
  .table {{ overflow: visible; }} table {{ width: 100%; }} td {{ overflow-wrap: anywhere; }}
  thead {{ display: table-header-group; }} tr {{ break-inside: avoid; }} h2 {{ break-after: avoid; }}
  .bad {{ border: 3px solid #a11; background: none; color: #a11; }}
}}
</style></head><body><main>
{body}
</main></body></html>
"""
