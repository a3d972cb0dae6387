"""`nightread import`: take in a whole folder that stays where it is, and queue it."""

from __future__ import annotations

import time
from pathlib import Path

import click

from worker.config import Settings
from worker.intake.accept import Acceptor, Candidate, in_groups
from worker.intake.watcher import files_below
from worker.ledger.reports import FileCounts, file_counts, find_run
from worker.ledger.schema import open_ledger
from worker.ledger.session import Ledger
from worker.ledger.states import Lane, Outcome, Source
from worker.progress import progress
from worker.queue.dispatch import Dispatcher
from worker.store import open_store

_LOOK_EVERY_S = 1.0


def import_folder(settings: Settings, folder: Path, run: str | None, *, wait: bool) -> None:
    """Take every file below `folder` in, tell what became of them, and wait for the scores if asked."""
    ledger = open_ledger(settings.database)
    acceptor = Acceptor(settings, ledger, open_store(settings))
    dispatcher = Dispatcher(settings, ledger)
    paths = list(files_below(folder))
    outcomes = dict.fromkeys(Outcome, 0)
    queued = True
    with progress(len(paths), "Taking in") as advance:
        for group in in_groups([Candidate(path, str(path.relative_to(folder))) for path in paths]):
            # Copied, not linked: these files have an owner who may change them.
            accepted = acceptor.accept(
                group, source=Source.IMPORT, lane=Lane.OVERNIGHT, run=run, keep_source=True
            )
            for item in accepted:
                outcomes[item.outcome] += 1
            new = [item.image_id for item in accepted if item.outcome is Outcome.NEW]
            queued = (not new or dispatcher.publish(new, Lane.OVERNIGHT)) and queued
            advance(len(group))
    _tell(outcomes, len(paths), queued=queued)
    if wait:
        _wait(ledger, run)


def _tell(outcomes: dict[Outcome, int], total: int, *, queued: bool) -> None:
    click.echo(
        f"{outcomes[Outcome.NEW]} new, {outcomes[Outcome.DUPLICATE]} duplicates, "
        f"{outcomes[Outcome.REJECTED]} turned away.",
        err=True,
    )
    unread = total - sum(outcomes.values())
    if unread:
        click.echo(f"{unread} files could not be read and are not taken in; see above.", err=True)
    if not queued:
        click.echo("No broker answers: the images wait, and are scored once `nightread up` runs.", err=True)


def _wait(ledger: Ledger, run: str | None) -> None:
    counted = _file_counts(ledger, run)
    total = counted.pending + counted.leased
    done = 0
    with progress(total, "Scoring") as advance:
        while done < total:
            counted = _file_counts(ledger, run)
            now_done = max(done, total - counted.pending - counted.leased)
            advance(now_done - done)
            done = now_done
            time.sleep(0 if done >= total else _LOOK_EVERY_S)


def _file_counts(ledger: Ledger, run: str | None) -> FileCounts:
    with ledger.reading() as session:
        found = find_run(session, run)
        return file_counts(session, found.id if found and run else None)
