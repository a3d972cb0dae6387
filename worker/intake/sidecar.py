"""The sidecar of a folder: `identity.csv` states patient, age, sex and view of the files beside it, one a line.

It is for JPEG and PNG files, which cannot say these things themselves. Nightread leaves it where it is, and reads it when
it is complete. It tells of wrong lines by their numbers, never by what stands in them.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from worker.imagefile.identity import AgeSource, Identity
from worker.intake.problems import Problems
from worker.intake.source import BeingWritten, Candidate, OpenSource, fingerprint_of, open_source
from worker.intake.stated import FIELDS, SiteKey, WrongValue, identity_of

NAME = "identity.csv"
_FILE = "file"
# A line of a sidecar has some 40 bytes: this is enough for a hundred thousand files.
_LONGEST = 4 * 1024**2
_SEPARATORS = (",", ";", "\t")
_LINES_TOLD = 10
_Fingerprint = tuple[int, ...]


@dataclass(frozen=True)
class Sidecar:
    """What a sidecar says.

    Attributes:
        identities: by the name of a file; None: its line states nothing.
        wrong_lines: numbers of the lines that are not valid and count for nothing.
        fault: why none of it can be used; None if it can.
    """

    identities: Mapping[str, Identity | None] = field(default_factory=dict)
    wrong_lines: tuple[int, ...] = ()
    fault: str | None = None

    def has(self, file: str) -> bool:
        """Return whether there is a valid line for a file of this name."""
        return _normal(file) in self.identities

    def of(self, file: str) -> Identity | None:
        """Return what is stated about the file of this name."""
        return self.identities.get(_normal(file))

    @property
    def problem(self) -> str | None:
        """What a person should correct; None if there is nothing."""
        if self.fault or not self.wrong_lines:
            return self.fault
        told = ", ".join(map(str, self.wrong_lines[:_LINES_TOLD]))
        more = len(self.wrong_lines) - _LINES_TOLD
        return f"line{'s' if self.wrong_lines[1:] else ''} {told}" + (f" and {more} more" if more > 0 else "")


def is_sidecar(path: str) -> bool:
    """Return whether a file of this name or path is a sidecar. Upper and lower case count as equal."""
    return path.rpartition("/")[2].lower() == NAME


def parse(data: bytes, site_key: SiteKey | None) -> Sidecar:
    """Read a sidecar: UTF-8, its first line names the columns, which commas, semicolons or tabs separate."""
    if len(data) > _LONGEST:
        return Sidecar(fault=f"it has more than {_LONGEST:,} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Sidecar(fault="it is not UTF-8 text")
    rows = _Rows(text)
    try:
        return _read(rows, site_key)
    except csv.Error:
        return Sidecar(fault=f"line {rows.line} is not CSV")


class _Rows:
    """The rows of a CSV text, and the number of the line that was read last."""

    def __init__(self, text: str) -> None:
        self._reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), strict=True)

    @property
    def line(self) -> int:
        return self._reader.line_num

    def __iter__(self) -> Iterator[list[str]]:
        return self._reader


def sidecar_in(folder: Path) -> Sidecar:
    """Return the sidecar in a folder, without patient keys; an empty one if there is none that can be read."""
    try:
        with open_source(Candidate(folder / NAME, NAME)) as opened:
            return parse(opened.file.read(_LONGEST + 1), None)
    except OSError:
        return Sidecar()


def _separator(text: str) -> str:
    first = text.partition("\n")[0]
    return max(_SEPARATORS, key=first.count)


def _read(rows: _Rows, site_key: SiteKey | None) -> Sidecar:
    columns = [name.strip().lower() for name in next(iter(rows), [])]
    if _FILE not in columns or not set(columns) <= {_FILE, *FIELDS} or len(set(columns)) < len(columns):
        return Sidecar(fault=f"line 1 must name the column {_FILE}, any of {', '.join(FIELDS)}, and no other")
    identities: dict[str, Identity | None] = {}
    lines: dict[str, int] = {}
    wrong: set[int] = set()
    for row in rows:
        if not any(row):
            continue
        try:
            name, identity = _row(columns, row, site_key)
        except WrongValue:
            wrong.add(rows.line)
            continue
        if name in lines:
            # Nobody can tell which of the two lines is right.
            wrong |= {lines[name], rows.line}
            identities.pop(name, None)
        else:
            identities[name] = identity
        lines[name] = rows.line
    return Sidecar(identities, tuple(sorted(wrong)))


def _row(columns: list[str], row: list[str], site_key: SiteKey | None) -> tuple[str, Identity | None]:
    if len(row) != len(columns):
        raise WrongValue("the line has another number of columns")
    values = dict(zip(columns, row, strict=True))
    name = _normal(values.pop(_FILE).strip())
    if not name or "/" in name or "\\" in name:
        raise WrongValue(f"`{_FILE}` must be the name of a file in the same folder")
    return name, identity_of(values, AgeSource.SIDECAR, site_key)


def _normal(name: str) -> str:
    """Return a file name as a key: macOS writes letters and their accents apart."""
    return unicodedata.normalize("NFC", name)


class Sidecars:
    """The sidecars below one folder, each read once as long as it does not change."""

    def __init__(self, root: Path, site_key: SiteKey) -> None:
        """Keep where they lie, and how to get the site key; nothing is read yet."""
        self._root = root
        self._site_key = site_key
        self._present: dict[str, tuple[Candidate, _Fingerprint, bool]] = {}
        self._read: dict[str, tuple[_Fingerprint, Sidecar]] = {}

    def seen(self, states: Mapping[str, _Fingerprint], complete: set[str]) -> None:
        """Note which sidecars a scan saw, by their paths below the root, and which of them are complete."""
        self._present = {
            path.rpartition("/")[0]: (_candidate(self._root, path, state), state, path in complete)
            for path, state in states.items()
            if is_sidecar(path)
        }
        self._read = {folder: known for folder, known in self._read.items() if folder in self._present}

    def beside(self, path: str) -> Sidecar | None:
        """Return the sidecar in the folder of this file; None if there is none.

        Raises:
            BeingWritten: it is not complete yet.
            OSError: it cannot be read.
        """
        folder = path.rpartition("/")[0]
        if folder not in self._present:
            return None
        candidate, state, complete = self._present[folder]
        known = self._read.get(folder)
        if known is None or known[0] != state:
            if not complete:
                raise BeingWritten
            known = self._read[folder] = state, parse(_bytes_of(candidate, state), self._site_key)
        return known[1]

    def is_readable(self, path: str) -> bool:
        """Return whether the folder of this file has no sidecar, or one that can be read."""
        try:
            self.beside(path)
        except (BeingWritten, OSError):
            return False
        return True

    def with_identity(self, candidate: Candidate) -> Candidate:
        """Return a file with what its sidecar states about it, if that can be read."""
        try:
            sidecar = self.beside(candidate.name)
        except (BeingWritten, OSError):
            return candidate
        return replace(candidate, stated=sidecar.of(_last(candidate.name))) if sidecar else candidate

    def has_line(self, path: str) -> bool:
        """Return whether the folder of this file has no sidecar, or a complete one with a line for it."""
        try:
            sidecar = self.beside(path)
        except (BeingWritten, OSError):
            return False
        return sidecar is None or sidecar.has(_last(path))

    def is_being_written(self, path: str) -> bool:
        """Return whether the folder of this file has a sidecar that a program has not finished, or writes again."""
        folder = path.rpartition("/")[0]
        if folder not in self._present:
            return False
        candidate, state, complete = self._present[folder]
        if not complete:
            return True
        try:
            with _finished(candidate, state):
                return False
        except BeingWritten:
            # What was read of it may not be all.
            self._read.pop(folder, None)
            return True
        except OSError:
            return False

    def report(self, problems: Problems) -> None:
        """Tell of sidecars that cannot be read, and of wrong lines."""
        for candidate, _, complete in self._present.values():
            if not complete:
                continue
            try:
                sidecar = self.beside(candidate.name)
            except BeingWritten:
                problems.held_open(candidate.name)
            except OSError as error:
                problems.unreadable(error)
            else:
                if sidecar and sidecar.problem:
                    problems.wrong_sidecar(sidecar.problem)


def _candidate(root: Path, path: str, state: _Fingerprint) -> Candidate:
    device, inode, *_ = state
    return Candidate(root / path, path, root, (device, inode))


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _bytes_of(candidate: Candidate, state: _Fingerprint) -> bytes:
    """Read a sidecar that still is what a scan saw. Raises BeingWritten or OSError."""
    with _finished(candidate, state) as opened:
        data = opened.file.read(_LONGEST + 1)
        if fingerprint_of(opened.current_status()) != state:
            raise BeingWritten
        return data


@contextmanager
def _finished(candidate: Candidate, state: _Fingerprint) -> Iterator[OpenSource]:
    """Open a sidecar that still is what a scan saw, and that no program writes. Raises BeingWritten or OSError."""
    with open_source(candidate) as opened:
        opened.check_writers()
        if fingerprint_of(opened.status) != state:
            raise BeingWritten
        yield opened
