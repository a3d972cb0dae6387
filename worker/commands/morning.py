"""The morning report of a run: as text, HTML, CSV or one JSON document.

It says first whether the books balance, then what is flagged, what was turned away and why, what took
long and what else a person should look at; and in every form that it is no diagnosis.
"""

from __future__ import annotations

import csv
import html
import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from worker import DISCLAIMER
from worker.ledger.reports import Morning, find_run, morning
from worker.ledger.session import ledger_time, utc_now
from worker.ledger.vitals import troubles, vitals

_FLAGGED = ("image", "verdict", "p_pneumonia", "review", "phantom", "file")
_TURNED_AWAY = ("image", "state", "code", "reason", "file")
_SLOWEST = ("image", "compute_ms")


@dataclass(frozen=True)
class Report:
    """A run's figures, and a sentence for each thing beside its images that a person should look at."""

    morning: Morning
    look_at: Sequence[str]


def read(session: Session, run_name: str | None) -> Report:
    """The report of a run, the latest without a name; `FORMATS` write it. Raises LookupError without that run."""
    run = find_run(session, run_name)
    if run is None:
        raise LookupError(f"There is no run named {run_name!r}." if run_name else "There is no run yet.")
    figures, signs = morning(session, run), vitals(session, ledger_time(session))
    # Where nothing gives a sign of life, Nightread was stopped on purpose.
    wrong = troubles(signs, balanced=True) if signs else []
    return Report(figures, [*worth_a_look(figures), *wrong])


def worth_a_look(figures: Morning) -> list[str]:
    """What of a run is left to a person, a sentence each. Pure."""
    books = figures.run.books
    counted = {
        "{} flagged or uncertain images are not read yet.": books.unread,
        "{} images are quarantined: scoring them failed again and again; see why, and retry them.": (
            books.quarantined
        ),
        "{} images have no outcome yet.": books.pending + books.leased,
    }
    return [sentence.format(count) for sentence, count in counted.items() if count]


def document(report: Report) -> dict[str, object]:
    """The report as plain data; times are ISO 8601 in UTC."""
    figures = report.morning
    books = figures.run.books
    return {
        "disclaimer": DISCLAIMER,
        "run": figures.run.name,
        "written_at": utc_now().isoformat(timespec="seconds"),
        "started_at": _iso(figures.run.started_at),
        "first_scored_at": _iso(figures.run.first_scored_at),
        "last_scored_at": _iso(figures.run.last_scored_at),
        **asdict(books),
        "flagged_images": [_flagged_row(image) for image in figures.flagged],
        "turned_away_images": [_turned_away_row(image) for image in figures.turned_away],
        "turned_away_why": _why(figures),
        "slowest": _slowest_rows(figures),
        "look_at": list(report.look_at),
    }


def _as_json(report: Report) -> str:
    return json.dumps(document(report), indent=2, ensure_ascii=False) + "\n"


def _as_text(report: Report) -> str:
    figures = report.morning
    books = figures.run.books
    lines = [
        f"Nightread, run {printable(figures.run.name)}",
        DISCLAIMER,
        "",
        _verdict_on_books(figures),
        f"  {books.line}",
        "",
        f"To read: {books.flagged} ({books.uncertain} of them uncertain), {books.unread} not read yet.",
        *_table(_FLAGGED, [_flagged_row(image) for image in figures.flagged]),
        "",
        _turned_away_line(figures),
        *_table(_TURNED_AWAY, [_turned_away_row(image) for image in figures.turned_away]),
    ]
    if figures.slowest:
        slow = ", ".join(f"image {row['image']} {row['compute_ms']:.0f} ms" for row in _slowest_rows(figures))
        lines += ["", f"Slowest: {slow}."]
    if report.look_at:
        lines += ["", "To look at:", *(f"  {printable(sentence)}" for sentence in report.look_at)]
    return "\n".join(lines) + "\n"


def _as_csv(report: Report) -> str:
    """One row an image to look at; further columns say whether the books balance, and the disclaimer."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["run", *_FLAGGED[:-1], "state", "reason", "file", "books_balance", "disclaimer"])
    figures = report.morning
    run, balanced = _no_formula(figures.run.name), "yes" if figures.run.books.balanced else "NO"
    for image in (*figures.flagged, *figures.turned_away):
        row = _flagged_row(image)
        values = [row[name] for name in _FLAGGED[:-1]]
        name = _no_formula(image.original_name)
        writer.writerow([run, *values, image.state, image.reason or "", name, balanced, DISCLAIMER])
    return out.getvalue()


def _as_html(report: Report) -> str:
    figures = report.morning
    books = figures.run.books
    body = [
        f"<h1>Run {html.escape(figures.run.name)}</h1>",
        f"<p><strong>{html.escape(DISCLAIMER)}</strong></p>",
        f"<p class={'good' if books.balanced else 'bad'}>{html.escape(_verdict_on_books(figures))}<br>",
        f"{html.escape(books.line)}</p>",
        f"<h2>To read: {books.flagged}, {books.unread} not read yet</h2>",
        _html_table(_FLAGGED, [_flagged_row(image) for image in figures.flagged]),
        f"<h2>{html.escape(_turned_away_line(figures).rstrip('.'))}</h2>",
        _html_table(_TURNED_AWAY, [_turned_away_row(image) for image in figures.turned_away]),
        "<h2>Slowest</h2>",
        _html_table(_SLOWEST, _slowest_rows(figures)),
        "<h2>To look at</h2>",
        "".join(f"<p>{html.escape(sentence)}</p>" for sentence in report.look_at) or "<p>Nothing else.</p>",
    ]
    return _PAGE.format(title=html.escape(figures.run.name), body="\n".join(body))


FORMATS: dict[str, Callable[[Report], str]] = {
    "text": _as_text,
    "html": _as_html,
    "csv": _as_csv,
    "json": _as_json,
}


def _turned_away_line(figures: Morning) -> str:
    books, why = figures.run.books, _why(figures)
    said = f"Turned away: {books.rejected} rejected, {books.quarantined} quarantined"
    return f"{said}: {', '.join(f'{count} {code}' for code, count in why.items())}." if why else f"{said}."


def _why(figures: Morning) -> dict[str, int]:
    """How many for which reason, the most frequent first, of those that are listed."""
    return dict(Counter(image.reason_code or "" for image in figures.turned_away).most_common())


def _slowest_rows(figures: Morning) -> list[dict[str, object]]:
    return [{"image": row.id, "compute_ms": round(row.compute_ms or 0, 1)} for row in figures.slowest]


def _verdict_on_books(figures: Morning) -> str:
    if figures.run.books.balanced:
        return "The books balance: every file that arrived has one outcome."
    return "THE BOOKS DO NOT BALANCE: find out why before anything else (nightread db check)."


def _flagged_row(image: Row[Any]) -> dict[str, object]:
    return {
        "image": image.id,
        "verdict": image.verdict or "",
        "p_pneumonia": "" if image.p_pneumonia is None else round(image.p_pneumonia, 6),
        "review": image.review_state or "",
        "phantom": "phantom" if image.phantom else "",
        "file": image.original_name,
    }


def _turned_away_row(image: Row[Any]) -> dict[str, object]:
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
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


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
