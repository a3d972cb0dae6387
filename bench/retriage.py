"""Measures a re-triage of many unread images: `python -m bench.retriage`, on SQLite or on NIGHTREAD_DATABASE_URL.

The ledger is a synthetic one. The points are the hardest ones: the first changes few verdicts, the second makes every
image flagged, and the third makes every image clear, so that a share of all is drawn.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from sqlalchemy import select

from bench.synthetic_ledger import fill_ledger
from worker.config import Settings, read_settings
from worker.ledger import actors, comparison, models, retriage, schema
from worker.ledger.point_groups import Group
from worker.ledger.retriage import Choice
from worker.ledger.session import Ledger, ledger_time
from worker.ledger.states import Source
from worker.ledger.tables import Image
from worker.ledger.thresholds import Point
from worker.progress import progress

POINTS = (
    Point("lower", 0.45, 0.35, 0.6),
    Point("all-flagged", 0.0, 0.0, 0.0),
    Point("all-clear", 1.0, 1.0, 1.0),
    Point("lower", 0.45, 0.35, 0.6),
)
Document = dict[str, Any]


def measure(ledger: Ledger, images: int, *, verify: bool) -> Document:
    """Fill an empty ledger with `images` images, and triage its unread ones again at each point; times in seconds."""
    with progress(images, "Filling") as advance:
        fill_ledger(ledger, images, advance)
    measured = [_retriage(ledger, point) for point in POINTS]
    # The ages and sources of all images are read; those of one source follow the point.
    measured.append(_retriage(ledger, POINTS[1], Group(source=Source.FOLDER)))
    document: Document = {"images": images, "retriages": measured}
    if verify:
        began = time.perf_counter()
        with ledger.reading() as session:
            compared = comparison.compare(session)
        document |= {
            "compare_s": round(time.perf_counter() - began, 2),
            "mismatches": compared.mismatch_count,
        }
    return document


def _retriage(ledger: Ledger, point: Point, group: Group | None = None) -> Document:
    began = time.perf_counter()
    with ledger.reading() as session:
        model = models.active_model(session)
        if model is None:
            raise ValueError("the synthetic ledger has no model")
        choice = Choice(point, None, retriages=True, group=group)
        retriage.count(session, model.sha256, choice)
    counted = time.perf_counter()
    with ledger.transaction() as session:
        at = ledger_time(session)
        done = retriage.put_in_force(session, model, choice, who=actors.PROGRAM, why="a measurement", at=at)
    return {
        "point": point.name,
        "group": group.key if group else None,
        **{name: getattr(done, name) for name in ("unread", "changed", "drawn")},
        "count_s": round(counted - began, 2),
        "retriage_s": round(time.perf_counter() - counted, 2),
    }


@click.command()
@click.argument("images", type=click.IntRange(1_000), default=260_000)
@click.option("--verify", is_flag=True, help="Compare the tables with the audit trail afterwards.")
def main(images: int, *, verify: bool) -> None:
    """Measure re-triages on a synthetic ledger of IMAGES images; about two fifths of them are unread and of the model."""
    settings = read_settings()
    with tempfile.TemporaryDirectory(prefix="nightread-bench-") as folder:
        url = settings.database_url or Settings(data=Path(folder)).database
        ledger = Ledger(url)
        schema.upgrade(ledger)
        with ledger.reading() as session:
            if session.scalar(select(Image.id).limit(1)) is not None:
                raise click.ClickException("this ledger already has images; an empty one is needed")
        document = measure(ledger, images, verify=verify)
        ledger.close()
    click.echo(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
