"""Progress of long work on stderr: a bar with an ETA on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from worker.durations import duration

_LINE_EVERY_S = 60.0


@contextmanager
def progress(total: int, label: str) -> Iterator[Callable[[int], None]]:
    """Yield a function that adds a number of finished items to the progress; `total` is the number of all items."""
    if sys.stderr.isatty():
        with click.progressbar(length=total, label=label, file=sys.stderr, show_pos=True) as bar:
            yield bar.update
        return
    started = last = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last >= _LINE_EVERY_S and done:
            last = now
            eta_s = (now - started) / done * (total - done)
            click.echo(f"{label}: {done} of {total}, about {duration(eta_s)} left", err=True)

    yield advance
    click.echo(f"{label}: {done} of {total} in {duration(time.monotonic() - started)}", err=True)
