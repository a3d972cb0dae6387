"""The audit trail as CSV (RFC 4180), one row an entry."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from worker.ledger.audit_codes import Code, meaning
from worker.ledger.trail import Entry

COLUMNS = (
    "at", "source", "number", "kind", "meaning", "actor", "subject", "image", "patient_key", "code", "total", "dicom_event",
    "dicom_event_type", "dicom_action",
)  # fmt: skip


def write(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield the header, then the line of each entry. `at` is UTC in ISO 8601."""
    yield _line(COLUMNS)
    for entry in entries:
        meant = meaning(entry.kind)
        yield _line(
            (
                entry.at.isoformat(timespec="microseconds"),
                entry.source,
                entry.number,
                entry.kind,
                meant.words,
                entry.actor,
                entry.subject,
                entry.image_id,
                entry.patient_key,
                entry.code,
                entry.total,
                _code(meant.event),
                _code(meant.type),
                meant.act.value,
            )
        )


def _line(cells: Iterable[object]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()


def _code(code: Code | None) -> str:
    return "" if code is None else code.code
