"""The morning report of a run: as text, HTML, CSV or one JSON document.

It says first whether the books balance, then what to look at, and in every form that it is
no diagnosis.
"""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime

from sqlalchemy.orm import Session

from worker import DISCLAIMER
from worker.ledger.reports import Morning, find_run, morning
from worker.ledger.session import utc_now
from worker.ledger.tables import Image

_FLAGGED = ("image", "verdict", "p_pneumonia", "review", "phantom", "file")
_TURNED_AWAY = ("image", "state", "code", "reason", "file")


def render(session: Session, run_name: str | None, form: str) -> str:
    """The report of a run, the latest without a name, in one of `FORMATS`.

    Raises LookupError when there is no such run, KeyError when there is no such format.
    """
    write = FORMATS[form]
    run = find_run(session, run_name)
    if run is None:
        raise LookupError(f"There is no run named {run_name!r}." if run_name else "There is no run yet.")
    return write(morning(session, run))


def document(report: Morning) -> dict[str, object]:
    """The report as plain data; times are ISO 8601 in UTC."""
    books = report.run.books
    return {
        "disclaimer": DISCLAIMER,
        "run": report.run.name,
        "written_at": utc_now().isoformat(timespec="seconds"),
        "started_at": _iso(report.run.started_at),
        "first_scored_at": _iso(report.run.first_scored_at),
        "last_scored_at": _iso(report.run.last_scored_at),
        **asdict(books),
        "flagged_images": [_flagged_row(image) for image in report.flagged],
        "turned_away_images": [_turned_away_row(image) for image in report.turned_away],
        "slowest": [
            {"image": prediction.image_id, "compute_ms": round(prediction.compute_ms, 1)}
            for prediction in report.slowest
        ],
    }


def _as_json(report: Morning) -> str:
    return json.dumps(document(report), indent=2, ensure_ascii=False) + "\n"


def _as_text(report: Morning) -> str:
    books = report.run.books
    lines = [
        f"Nightread, run {report.run.name}",
        DISCLAIMER,
        "",
        _verdict_on_books(report),
        f"  {books.line}",
        "",
        f"To read: {books.flagged} ({books.uncertain} of them uncertain), {books.unread} not read yet.",
        *_table(_FLAGGED, [_flagged_row(image) for image in report.flagged]),
        "",
        f"Turned away: {books.rejected} rejected, {books.quarantined} quarantined.",
        *_table(_TURNED_AWAY, [_turned_away_row(image) for image in report.turned_away]),
    ]
    if report.slowest:
        slow = ", ".join(f"image {p.image_id} {p.compute_ms:.0f} ms" for p in report.slowest)
        lines += ["", f"Slowest: {slow}."]
    return "\n".join(lines) + "\n"


def _as_csv(report: Morning) -> str:
    """One row an image to look at; the header's first column carries the disclaimer."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["run", *_FLAGGED[:-1], "state", "reason", "file", "disclaimer"])
    run = _no_formula(report.run.name)
    for image in (*report.flagged, *report.turned_away):
        row = _flagged_row(image)
        values = [row[name] for name in _FLAGGED[:-1]]
        name = _no_formula(image.original_name)
        writer.writerow([run, *values, image.state, image.reason or "", name, DISCLAIMER])
    return out.getvalue()


def _as_html(report: Morning) -> str:
    books = report.run.books
    body = [
        f"<h1>Run {html.escape(report.run.name)}</h1>",
        f"<p><strong>{html.escape(DISCLAIMER)}</strong></p>",
        f"<p class={'good' if books.balanced else 'bad'}>{html.escape(_verdict_on_books(report))}<br>",
        f"{html.escape(books.line)}</p>",
        f"<h2>To read: {books.flagged}, {books.unread} not read yet</h2>",
        _html_table(_FLAGGED, [_flagged_row(image) for image in report.flagged]),
        f"<h2>Turned away: {books.rejected} rejected, {books.quarantined} quarantined</h2>",
        _html_table(_TURNED_AWAY, [_turned_away_row(image) for image in report.turned_away]),
    ]
    return _PAGE.format(title=html.escape(report.run.name), body="\n".join(body))


FORMATS: dict[str, Callable[[Morning], str]] = {
    "text": _as_text,
    "html": _as_html,
    "csv": _as_csv,
    "json": _as_json,
}


def _verdict_on_books(report: Morning) -> str:
    if report.run.books.balanced:
        return "The books balance: every file that arrived has one outcome."
    return "THE BOOKS DO NOT BALANCE: find out why before anything else (nightread db check)."


def _flagged_row(image: Image) -> dict[str, object]:
    return {
        "image": image.id,
        "verdict": image.verdict or "",
        "p_pneumonia": "" if image.p_pneumonia is None else round(image.p_pneumonia, 6),
        "review": image.review_state or "",
        "phantom": "phantom" if image.phantom else "",
        "file": image.original_name,
    }


def _turned_away_row(image: Image) -> dict[str, object]:
    return {
        "image": image.id,
        "state": image.state,
        "code": image.reason_code or "",
        "reason": image.reason or "",
        "file": image.original_name,
    }


def _table(names: tuple[str, ...], rows: list[dict[str, object]]) -> list[str]:
    if not rows:
        return []
    cells = [names, *([printable(row[name]) for name in names] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
    return [
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells
    ]


def _html_table(names: tuple[str, ...], rows: list[dict[str, object]]) -> str:
    if not rows:
        return "<p>None.</p>"
    head = "".join(f"<th>{name}</th>" for name in names)
    lines = ("".join(f"<td>{html.escape(str(row[name]))}</td>" for name in names) for row in rows)
    return f"<table><tr>{head}</tr>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def printable(value: object) -> str:
    """A name may hold control characters that a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in str(value))


def _no_formula(name: str) -> str:
    """A spreadsheet runs a cell that starts so (OWASP, CSV injection)."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name


def _iso(value: datetime | None) -> str | None:
    return value.isoformat(timespec="seconds") if value else None


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Nightread: {title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }}
table {{ border-collapse: collapse; }} th, td {{ text-align: left; padding: .25rem .75rem .25rem 0; }}
.bad {{ background: #a11; color: #fff; padding: 1rem; }} .good {{ color: #161; }}
</style></head><body>
{body}
</body></html>
"""
