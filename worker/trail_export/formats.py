"""The formats of an export, each a function from entries to pieces of text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from worker.ledger.trail import Entry
from worker.trail_export import csv_rows, fhir


@dataclass(frozen=True)
class Format:
    """How an export is written: `write` gives its text piece by piece."""

    content_type: str
    ending: str
    write: Callable[[Iterable[Entry]], Iterator[str]]


FORMATS: Mapping[str, Format] = {
    "csv": Format("text/csv; charset=utf-8", "csv", csv_rows.write),
    "fhir": Format("application/fhir+json; charset=utf-8", "json", fhir.write),
}
