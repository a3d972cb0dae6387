"""`nightread import`: accept copies of all files of a folder and queue the new images."""

from __future__ import annotations

import time
from pathlib import Path

import click

from worker.config import Settings
from worker.folders import contains
from worker.intake.accept import Acceptor, in_groups
from worker.intake.problems import Problems
from worker.intake.watcher import files_below, sidecars_below
from worker.ledger.file_counts import FileCounts, file_counts
from worker.ledger.reports import find_run
from worker.ledger.schema import open_ledger
from worker.ledger.session import Ledger
from worker.ledger.states import Lane, Outcome, Source
from worker.progress import progress
from worker.queue.dispatch import Dispatcher
from worker.store import open_store

_POLL_S = 1.0


def import_folder(settings: Settings, folder: Path, run: str | None, *, wait: bool) -> None:
    """Accept every file below `folder`, print the outcomes and, if asked, wait until all images are done."""
    _refuse_own_folders(settings, folder)
    ledger = open_ledger(settings.database)
    acceptor = Acceptor(settings, ledger, open_store(settings))
    dispatcher = Dispatcher(settings, ledger)
    files = files_below(folder, settings.ignore)
    outcomes = dict.fromkeys(Outcome, 0)
    problems = Problems()
    sidecars = sidecars_below(folder, settings.ignore, acceptor.site_keys.key)
    sidecars.report(problems)
    _print_wrong_sidecars(problems)
    ready = [sidecars.with_identity(file) for file in files if sidecars.is_readable(file.name)]
    queued = True
    with progress(len(files), "Accepting") as advance:
        for group in in_groups(ready):
            # The files are copied, not linked: their owner may still change them.
            accepted = acceptor.accept(
                group,
                source=Source.IMPORT,
                lane=Lane.OVERNIGHT,
                run=run,
                keep_source=True,
                problems=problems,
            )
            for item in accepted:
                outcomes[item.outcome] += 1
            new = [item.image_id for item in accepted if item.outcome is Outcome.NEW]
            queued = (not new or dispatcher.publish(new, Lane.OVERNIGHT)) and queued
            advance(len(group))
    _print_outcomes(outcomes, len(files), problems, queued=queued)
    if wait:
        _wait(ledger, run)


def _refuse_own_folders(settings: Settings, folder: Path) -> None:
    """Raise an error for wrong use if the folder has files that Nightread keeps: they have their receipts."""
    for place in settings.places:
        lies_in_ours = place.exclusive and contains(place.path, folder)
        if lies_in_ours or contains(folder, place.path):
            raise click.BadParameter(
                f"{folder} {'lies in' if lies_in_ours else 'contains'} {place.name}, {place.path}. "
                "Nothing was imported. Choose a folder that has none of Nightread's own files.",
                param_hint="FOLDER",
            )


def _print_wrong_sidecars(problems: Problems) -> None:
    text = problems.text()
    if text:
        click.echo(f"Files that say whose images these are: {text}.", err=True)


def _print_outcomes(outcomes: dict[Outcome, int], total: int, problems: Problems, *, queued: bool) -> None:
    click.echo(
        f"{outcomes[Outcome.NEW]} new, {outcomes[Outcome.DUPLICATE]} duplicates, "
        f"{outcomes[Outcome.REJECTED]} rejected.",
        err=True,
    )
    left = total - sum(outcomes.values())
    if left:
        reasons = problems.text() or "they changed or vanished meanwhile"
        click.echo(f"{left} files were not accepted: {reasons}. Import the folder again later.", err=True)
    if not queued:
        click.echo(
            "The broker cannot be reached. The images are pending. They are scored when `nightread up` runs.",
            err=True,
        )


def _wait(ledger: Ledger, run: str | None) -> None:
    counts = _file_counts(ledger, run)
    total = counts.pending + counts.leased
    done = 0
    with progress(total, "Scoring") as advance:
        while done < total:
            counts = _file_counts(ledger, run)
            now_done = max(done, total - counts.pending - counts.leased)
            advance(now_done - done)
            done = now_done
            time.sleep(0 if done >= total else _POLL_S)


def _file_counts(ledger: Ledger, run: str | None) -> FileCounts:
    with ledger.reading() as session:
        named_run = find_run(session, run) if run else None
        return file_counts(session, named_run.id if named_run else None)
