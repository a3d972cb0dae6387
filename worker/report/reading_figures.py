"""How readers agree with each other and how many cases the model misses: the content of page, CSV and JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from worker.ledger import actors, double_readings, missed_cases, users
from worker.ledger.double_readings import DoubleReadings, EqualPairs
from worker.ledger.findings import Finding
from worker.ledger.missed_cases import Extent, Read
from worker.report.agreement import Agreement, Table, agreement
from worker.report.missed import Missed, ReadCounts, missed

# Figures of fewer images are not shown: they would say little, and could be traced to single readings.
SMALLEST = 10


@dataclass(frozen=True)
class Disagreements:
    """What became of the images to which both readers gave different findings.

    Attributes:
        number: of these images.
        as_first, as_second, otherwise: the adjudicator decided as the first reader, as the second one, or as neither.
        waiting: images that wait for an adjudicator.
        not_adjudicated: the others: a reader changed their reading, or the image was scored again.
    """

    number: int
    as_first: int
    as_second: int
    otherwise: int
    waiting: int
    not_adjudicated: int


@dataclass(frozen=True)
class OfTwoReaders:
    """The agreement of two people, whoever of both read an image first."""

    readers: tuple[str, str]
    figures: Agreement


@dataclass(frozen=True)
class OfReaders:
    """How readers agree.

    Attributes:
        pairs: images that two people have read.
        left_out: second readings in no pair: see `double_readings`.
        score_shown: pairs in which a reader may have seen the score first.
        earliest, latest: the times of the second readings; None without any.
        table: first readings in rows, second ones in columns, in the order of `Finding`; None for fewer than `SMALLEST`.
        figures, disagreements: None for fewer than `SMALLEST` pairs.
        of_two: for each two people with `SMALLEST` pairs or more, the most pairs first.
        too_few: how many other combinations of two people there are.
    """

    pairs: int
    left_out: int
    score_shown: int
    earliest: datetime | None
    latest: datetime | None
    table: Table | None
    figures: Agreement | None
    disagreements: Disagreements | None
    of_two: Sequence[OfTwoReaders]
    too_few: int


@dataclass(frozen=True)
class OfModel:
    """What the model missed, by the final readings of the runs of an extent. `missed` is None if there is no such run."""

    extent: Extent
    read: Read
    missed: Missed | None
    why_not: str = ""

    @property
    def images(self) -> int:
        """The number of images of patients in the counted runs."""
        return self.read.clear + self.read.shown.read + self.read.unread

    @property
    def recognisable(self) -> bool:
        """Whether the protocol showed scores first to readers of the sample, so that it could be recognised."""
        return self.read.sample.score_first > 0

    @property
    def readings(self) -> int:
        """The number of final readings that are counted."""
        return self.read.shown.read + self.read.sample.read

    @property
    def score_first(self) -> int:
        """How many of these readings followed a protocol that shows scores first."""
        return self.read.shown.score_first + self.read.sample.score_first


@dataclass(frozen=True)
class ReadingFigures:
    """Everything that the page shows."""

    readers: OfReaders
    model: OfModel


@dataclass(frozen=True)
class ReadingCounts:
    """The counts behind the figures, with the ids of readers. To count them reads many rows."""

    pairs: DoubleReadings
    model: OfModel


def reading_counts(session: Session, extent: Extent) -> ReadingCounts:
    """Count the latest second readings, and the final readings of the runs of an extent."""
    return ReadingCounts(double_readings.latest_pairs(session), of_model(session, extent))


def reading_figures(session: Session, counts: ReadingCounts, *, names: bool = True) -> ReadingFigures:
    """Return the figures of these counts. Without `names`, numbers stand for readers."""
    pairs = counts.pairs.pairs
    ids = {reader for pair in pairs for reader in (pair.first_reader, pair.second_reader)}
    known = users.names_of(session, map(actors.user, ids)) if names else {}
    called = {reader: known.get(actors.user(reader), f"reader {reader}") for reader in ids}
    return ReadingFigures(of_readers(counts.pairs, called), counts.model)


def of_readers(found: DoubleReadings, names: Mapping[int, str]) -> OfReaders:
    """Return the figures of all pairs, and of each two people."""
    number = sum(pair.number for pair in found.pairs)
    table = _table((pair.first, pair.second, pair.number) for pair in found.pairs)
    enough = number >= SMALLEST
    of_two, too_few = _of_two(found.pairs, names)
    return OfReaders(
        pairs=number,
        left_out=found.left_out,
        score_shown=sum(pair.number for pair in found.pairs if pair.score_shown),
        earliest=min((pair.earliest for pair in found.pairs), default=None),
        latest=max((pair.latest for pair in found.pairs), default=None),
        table=table if enough else None,
        figures=agreement(table) if enough else None,
        disagreements=_disagreements(found.pairs) if enough else None,
        of_two=of_two,
        too_few=too_few,
    )


def of_model(session: Session, extent: Extent) -> OfModel:
    """Return what the model missed in the runs of an extent."""
    read = missed_cases.read(session, list(extent.runs))
    if not extent.runs:
        return OfModel(extent, read, None, "There is no run that can be counted.")
    if not OfModel(extent, read, None).images:
        return OfModel(extent, read, None, "The runs that are read to the end have no images of patients.")
    counts = ReadCounts(
        found=read.shown.with_signs,
        false_alarms=read.shown.without_signs,
        clear=read.clear,
        sample_with_signs=read.sample.with_signs,
        sample_without_signs=read.sample.without_signs,
        unread=read.unread,
    )
    return OfModel(extent, read, missed(counts))


def _of_two(pairs: Sequence[EqualPairs], names: Mapping[int, str]) -> tuple[list[OfTwoReaders], int]:
    """Return the figures of each two people with enough pairs, and how many combinations have fewer."""
    findings: dict[tuple[int, int], list[tuple[Finding, Finding, int]]] = defaultdict(list)
    for pair in pairs:
        if pair.first_reader < pair.second_reader:
            findings[pair.first_reader, pair.second_reader].append((pair.first, pair.second, pair.number))
        else:
            findings[pair.second_reader, pair.first_reader].append((pair.second, pair.first, pair.number))
    of_two = [
        OfTwoReaders((names[one], names[other]), agreement(_table(of_both)))
        for (one, other), of_both in findings.items()
        if sum(number for _, _, number in of_both) >= SMALLEST
    ]
    of_two.sort(key=lambda two: (-two.figures.pairs, two.readers))
    return of_two, len(findings) - len(of_two)


def _table(counts: Iterable[tuple[Finding, Finding, int]]) -> list[list[int]]:
    place = {finding: number for number, finding in enumerate(Finding)}
    table = [[0] * len(place) for _ in place]
    for first, second, number in counts:
        table[place[first]][place[second]] += number
    return table


def _disagreements(pairs: Sequence[EqualPairs]) -> Disagreements:
    differing = [pair for pair in pairs if pair.first != pair.second]
    decided = [pair for pair in differing if pair.decided is not None]
    waiting = [pair for pair in differing if pair.decided is None and pair.waits]
    number, as_first, as_second, adjudicated, waits = (
        sum(pair.number for pair in some)
        for some in (
            differing,
            [pair for pair in decided if pair.decided == pair.first],
            [pair for pair in decided if pair.decided == pair.second],
            decided,
            waiting,
        )
    )
    return Disagreements(
        number, as_first, as_second, adjudicated - as_first - as_second, waits, number - adjudicated - waits
    )
