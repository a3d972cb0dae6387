"""Measures pages, API, writes and commands on a synthetic ledger of any size."""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlencode

import click
import psutil
from flask import Flask
from flask.testing import FlaskClient

from bench import synthetic_ledger
from bench.measures import median_and_p95, peak_rss_mb
from bench.signing_in import session_cookie
from webui.app import create_app
from webui.dependencies import EXTENSION
from webui.queue_view import READING, VERDICTS
from worker.config import Settings
from worker.ledger import accesses, leases, models, predictions, reading_queue, receipts, reports
from worker.ledger.predictions import ImageFacts, ScoreRecord, ScoringModel
from worker.ledger.receipts import Arrival
from worker.ledger.schema import upgrade
from worker.ledger.session import Ledger, utc_now
from worker.ledger.states import Lane, Source
from worker.ledger.tables import Image
from worker.phantom import write_phantom
from worker.progress import progress
from worker.renditions.area import RenditionArea
from worker.renditions.drawing import draw
from worker.renditions.pack import write_pack
from worker.store import open_store

# Number of requests to each page. They use its addresses in turn; no page has more addresses than this.
ROUNDS = 100
# Number of images, and of runs, that are requested.
_SAMPLES = 30
_COMMANDS = (
    ("status", "--json"),
    ("report", "--json"),
    ("audit", "verify", "--json"),
)
# Images in one transaction of the intake and of a worker, by default.
_GROUP, _CHUNK = 64, 32
# Reading a command's memory this often costs nothing compared with a command of a second.
_POLL_S = 0.02
_OWNER = "bench:1:worker"
Document = dict[str, Any]


@dataclass(frozen=True)
class Samples:
    """A sample of the ledger to request: images of every kind, unread images, runs, two models, the hash of an image."""

    images: Sequence[int]
    unread: Sequence[int]
    runs: Sequence[str]
    model: str
    other_model: str
    sha256: str


def measure(settings: Settings, count: int, rounds: int = ROUNDS, *, commands: bool = True) -> Document:
    """Measure and return the document of `bench-ledger --json`.

    The ledger is the database of `settings.database_url`, or without this setting a temporary SQLite file.
    Without `commands`, the commands are left out. Raises ClickException if the database already has images.
    """
    with tempfile.TemporaryDirectory(prefix="nightread-bench-") as folder:
        bench_settings = settings.model_copy(update={"data": Path(folder), "store": ""})
        with _app(bench_settings) as app:
            ledger: Ledger = app.extensions[EXTENSION].ledger
            began = time.perf_counter()
            _fill(ledger, count)
            fill_s = time.perf_counter() - began
            samples = take_samples(ledger, count)
            _make_renditions(bench_settings, ledger, samples.unread)
            # As the server does, which has none of what the invention of a ledger leaves behind.
            gc.collect()
            gc.freeze()
            pages = _pages(app, samples, rounds)
            recording = _record_pages(app, samples, rounds)
            writes = _writes(ledger, rounds)
            measured = {
                " ".join(command[:-1]): _command(bench_settings, command) for command in _COMMANDS if commands
            }
    return {
        "images": count,
        "database": ledger.engine.dialect.name,
        "invented_in_s": round(fill_s, 1),
        "slowest_p95_ms": max(page["p95_ms"] for page in pages.values()),
        "pages": pages,
        "recording": recording,
        "writes": writes,
        "commands": measured,
    }


def as_text(document: Document) -> str:
    """Return the document as text for people, the slowest page first."""
    pages = sorted(document["pages"].items(), key=lambda page: -page[1]["p95_ms"])
    return "\n".join(
        [
            f"{document['images']} images on {document['database']}, created in {document['invented_in_s']:.0f} s",
            "                              median      p95, ms",
            *[f"  {name:<26}{page['median_ms']:8.1f} {page['p95_ms']:8.1f}" for name, page in pages],
            "with and without the record of accesses",
            *[
                f"  {name:<26}{page['median_ms']:8.1f} {page['p95_ms']:8.1f}"
                for name, page in document["recording"].items()
            ],
            *[f"  {name:<26}{ms:8.2f} ms an image" for name, ms in document["writes"].items()],
            *[
                f"  nightread {name:<16}{measured['seconds']:8.2f} s, {measured['peak_rss_mb']:.0f} MB"
                for name, measured in document["commands"].items()
            ],
        ]
    )


def addresses(samples: Samples) -> dict[str, list[str]]:
    """Return the addresses to request, for each page and each GET endpoint of the API."""
    queries = [
        urlencode({"verdict": verdict, "reading": reading, "run": run, "after": after})
        for verdict, reading, run, after in product(VERDICTS, READING, ["", samples.runs[-1]], ["", "0.3_1"])
    ]
    queries += _ordered_and_filtered(samples)
    reports_of = product(samples.runs, ("text", "html", "csv", "json"))
    return {
        "home.show": ["/"],
        "home.now": ["/now"],
        "queue.show": [f"/review?{query}" for query in queries],
        "viewer.show": [f"/review/{image}" for image in samples.images],
        "upload.show": ["/upload", "/upload?receipts=1-50"],
        "upload.rows": ["/upload/rows?receipts=1-50"],
        "runs.listing": ["/runs"],
        "runs.show": [f"/runs/{run}" for run in samples.runs],
        "queue.news": [
            f"/review/news?{urlencode({'since': since, 'shown': 1, 'verdict': verdict})}"
            for since, verdict in product([1, 1_000_000_000], ["to-read", "any"])
        ],
        "summary.show": ["/review/summary", f"/review/summary?run={samples.runs[-1]}"],
        "rejected.show": ["/rejected", f"/rejected?before={samples.images[len(samples.images) // 2]}"],
        "rescored.show": ["/rescored"],
        "models.listing": ["/models"],
        "models.show": [f"/models/{samples.model}"],
        "models.compare": [f"/models/compare?a={samples.other_model}&b={samples.model}"],
        "models.compare_csv": [f"/models/compare.csv?a={samples.other_model}&b={samples.model}"],
        "account.show": ["/account"],
        "people.show": ["/people"],
        "protocol.show": ["/protocol"],
        "thresholds.show": ["/thresholds"],
        "workbench.show": ["/thresholds/workbench"],
        "workbench.figures": ["/thresholds/workbench/figures?threshold=0.4&moved=threshold"],
        "workbench.figures_csv": ["/thresholds/workbench/figures.csv"],
        "workbench.cases_csv": ["/thresholds/workbench/cases.csv"],
        "calibration.show": ["/thresholds/calibration"],
        "calibration.figures_csv": ["/thresholds/calibration.csv"],
        "agreement.show": ["/agreement"],
        "monitor.show": [
            f"/monitor?{urlencode({'period': period, 'by': by})}"
            for period, by in product(("day", "week", "month"), ("all", "age", "machine", "reader"))
        ],
        "tokens.own": ["/account/tokens"],
        "tokens.every": ["/tokens"],
        "erasures.show": ["/erase"],
        "status.strip": ["/status/strip"],
        "audit.show": [
            "/audit",
            *[f"/audit?image={image}" for image in samples.images],
            "/audit?actor=user:1",
            "/audit?kind=view",
            "/audit?kind=read&actor=user:2",
            "/audit?kind=user_disabled",
            "/audit?since=2026-01-01&until=2026-01-02",
        ],
        "images.picture": [f"/images/{image}/picture" for image in samples.unread],
        "images.thumb": [f"/images/{image}/thumb.jpg" for image in samples.unread],
        "images.preview": [f"/images/{image}/preview.jpg" for image in samples.unread],
        "images.activation": [f"/images/{image}/map.png" for image in samples.unread],
        "images.scale": ["/images/scale.png"],
        "api_images.look_up": [f"/api/v1/images?sha256={samples.sha256}"],
        "api_images.show": [f"/api/v1/images/{image}" for image in samples.images],
        "api_reading.queue": [f"/api/v1/queue?{query}" for query in queries],
        "api_runs.listing": ["/api/v1/runs"],
        "api_runs.report": [f"/api/v1/runs/{run}/report?format={form}" for run, form in reports_of],
        "api_monitor.show": [
            "/api/v1/monitor",
            *[
                f"/api/v1/monitor?format=csv&by=sex&table={table}"
                for table in ("periods", "groups", "calibration")
            ],
        ],
        "api_agreement.show": [f"/api/v1/agreement?format={form}" for form in ("csv", "json")],
        "api_rescored.listing": ["/api/v1/rescored"],
        "api_models.listing": ["/api/v1/models"],
        "api_models.show": [f"/api/v1/models/{samples.model}"],
        "api_models.calibration": [f"/api/v1/models/{samples.model}/calibration"],
        "api_health.alive": ["/healthz"],
        "api_health.ready": ["/readyz"],
        "api_health.metrics": ["/metrics"],
        "api_health.status": ["/api/v1/status"],
        "api_health.description": ["/api/v1/openapi.json"],
    }


def _ordered_and_filtered(samples: Samples) -> list[str]:
    """Return queries of the queue by each order, from both ends of a page, and by each filter."""
    middle = {"score": "0.3_1", "closest": "0.3_1", "oldest": "1767225600000000.0_1"}
    orders: list[dict[str, object]] = [
        {"order": order, "run": run, place: middle[order], "reading": reading}
        for order, run, place, reading in product(
            middle, ["", samples.runs[-1]], ["after", "before"], ["unread", "any"]
        )
    ]
    everything = {"verdict": "any", "reading": "any"}
    filters: list[dict[str, object]] = [
        {"low": 0.2, "high": 0.3, "order": order, **everything} for order in middle
    ]
    filters += [
        {"state": state, "run": run}
        for state, run in product(["without-score", "any"], ["", samples.runs[0]])
    ]
    filters += [
        {"source": "upload", **everything},
        {"age": "1-5", "sex": "F", "view": "PA", **everything},
        {"sex": "unknown", "order": "closest", **everything},
        {"reader": 1, "reading": "read", "order": "oldest"},
        {"reason": "blank"},
    ]
    return [urlencode(query) for query in [*orders, *filters]]


@contextmanager
def _app(settings: Settings) -> Iterator[Flask]:
    app = create_app(settings)
    ledger: Ledger = app.extensions[EXTENSION].ledger
    upgrade(ledger)
    try:
        yield app
    finally:
        ledger.close()


def _fill(ledger: Ledger, count: int) -> None:
    try:
        with progress(count, "Creating") as advance:
            synthetic_ledger.fill_ledger(ledger, count, advance)
    except ValueError as error:
        raise click.ClickException(str(error)) from error


def take_samples(ledger: Ledger, count: int) -> Samples:
    """Choose the rows to request from a synthetic ledger of `count` images."""
    with ledger.reading() as session:
        unread = reading_queue.queue(session, reading_queue.QueueFilter(), size=_SAMPLES).images
        return Samples(
            images=[1 + number * count // _SAMPLES for number in range(_SAMPLES)],
            unread=[image.id for image in unread],
            runs=list(reports.run_names(session, size=_SAMPLES)),
            model=models.registered_models(session)[-1].model.sha256,
            other_model=models.registered_models(session)[0].model.sha256,
            sha256=unread[0].sha256,
        )


def _make_renditions(settings: Settings, ledger: Ledger, image_ids: Sequence[int]) -> None:
    """Make the renditions of one phantom those of each of these images, whose files were never stored."""
    store = open_store(settings)
    store.make()
    area = RenditionArea(store.root)
    with tempfile.TemporaryDirectory() as folder:
        drawing = Path(folder) / "phantom.jpg"
        write_phantom(drawing, 1)
        facts, pictures = draw(drawing.read_bytes(), settings.max_pixels)
    with ledger.reading() as session:
        for image_id in image_ids:
            unfinished = area.unfinished()
            with unfinished.open("wb") as file:
                write_pack(file, facts, pictures)
            area.keep(unfinished, session.get_one(Image, image_id).sha256)


def _pages(app: Flask, samples: Samples, rounds: int) -> dict[str, Document]:
    client, pages = signed_in_client(app), {}
    for name, urls in addresses(samples).items():
        # One request first, because templates and statements are compiled when first used.
        _request_ms(client, urls[0])
        pages[name] = _times([_request_ms(client, address) for address in islice(cycle(urls), rounds)])
    readings = [read_and_undo_ms(client, image) for image in islice(cycle(samples.unread), rounds)]
    pages["api_reading.decide"] = _times([decided for decided, _ in readings])
    pages["api_reading.undo"] = _times([undone for _, undone in readings])
    return pages


def _record_pages(app: Flask, samples: Samples, rounds: int) -> dict[str, Document]:
    """Measure pages that are put on record with and without the rows of accesses, in turn: other work hits both."""
    client, pages = signed_in_client(app), addresses(samples)
    measured = {}
    for name in ("viewer.show", "queue.show", "api_images.show"):
        recorded, unrecorded = [], []
        for address in islice(cycle(pages[name]), rounds):
            recorded.append(_request_ms(client, address))
            with patch.object(accesses, "record"):
                unrecorded.append(_request_ms(client, address))
        measured[f"{name}, on record"] = _times(recorded)
        measured[f"{name}, not"] = _times(unrecorded)
    return measured


def signed_in_client(app: Flask) -> FlaskClient:
    """Return a client of the application that may do what is measured."""
    client = app.test_client()
    # As a page of ours does: an unsafe request with a cookie must say where it comes from.
    client.environ_base["HTTP_SEC_FETCH_SITE"] = "same-origin"
    client.set_cookie(*session_cookie(app.extensions[EXTENSION].ledger))
    return client


def _request_ms(client: FlaskClient, address: str) -> float:
    return _timed(lambda: client.get(address), address)


def read_and_undo_ms(client: FlaskClient, image: int) -> tuple[float, float]:
    """Read an image and undo the reading. Return the milliseconds of both requests."""
    address = f"/api/v1/images/{image}/review"
    return (
        _timed(lambda: client.post(address, json={"finding": "signs_of_pneumonia"}), address),
        _timed(lambda: client.post("/api/v1/undo"), "/api/v1/undo"),
    )


def _timed(request: Callable[[], Any], address: str) -> float:
    """Return the milliseconds until the whole response has arrived."""
    began = time.perf_counter()
    response = request()
    _ = response.data
    took_ms = 1e3 * (time.perf_counter() - began)
    if response.status_code >= 400:  # noqa: PLR2004 - the first error status of HTTP
        raise click.ClickException(f"{address} answers {response.status_code}: {response.text[:200]}")
    return took_ms


def _times(ms: Sequence[float]) -> Document:
    median, p95 = median_and_p95(ms)
    return {"median_ms": median, "p95_ms": p95}


def _writes(ledger: Ledger, rounds: int) -> dict[str, float]:
    """Return the milliseconds that the ledger takes to receive an image, and to lease it and record its score."""
    with ledger.transaction() as session:
        model = predictions.register_model(
            session, sha256="b" * 64, name="bench", version="1", card={}, at=utc_now(),
            point={"threshold": 0.5, "band_low": 0.4, "band_high": 0.6}, point_name="bench",
        )  # fmt: skip
    received, scored, pending = [], [], []
    for number in range(rounds):
        began = time.perf_counter()
        pending += _receive(ledger, number)
        received.append(1e3 * (time.perf_counter() - began) / _GROUP)
    for first in range(0, len(pending), _CHUNK):
        began = time.perf_counter()
        _score(ledger, model, pending[first : first + _CHUNK])
        scored.append(1e3 * (time.perf_counter() - began) / _CHUNK)
    return {
        "receive_ms": round(statistics.median(received), 3),
        "score_ms": round(statistics.median(scored), 3),
    }


def _receive(ledger: Ledger, group: int) -> list[int]:
    arrivals = [
        Arrival(
            Source.FOLDER, f"{number}.jpg", f"bench:{group}:{number}", f"{group * _GROUP + number:064x}", 1,
            "jpeg", 1400, 1000,
        )
        for number in range(_GROUP)
    ]  # fmt: skip
    with ledger.transaction() as session:
        rows = receipts.record(session, arrivals, run="bench", lane=Lane.OVERNIGHT, at=utc_now())
    return [row.image_id for row in rows if row]


def _score(ledger: Ledger, model: ScoringModel, image_ids: Sequence[int]) -> None:
    at = utc_now()
    with ledger.transaction() as session:
        leases.lease(session, image_ids, owner=_OWNER, lease_s=60, at=at)
    facts = ImageFacts("jpeg", 1400, 1000)
    scored = [
        ScoreRecord(image_id, 0.1, 0.6, 0.3, 0.9, 0.9, "flagged", bytes(49), 7, 7, 4.0, facts)
        for image_id in image_ids
    ]
    with ledger.transaction() as session:
        predictions.record(
            session, owner=_OWNER, model=model, scored=scored, rejected=[], started_at=at, at=utc_now(),
            versions={"nightread": "0"},
        )  # fmt: skip


def _command(settings: Settings, arguments: Sequence[str]) -> Document:
    """Run a command as a user does and return its seconds, start included, and its peak memory."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("NIGHTREAD_")},
        "NIGHTREAD_DATA": str(settings.data),
        "NIGHTREAD_DATABASE_URL": settings.database_url,
    }
    began = time.perf_counter()
    process = psutil.Popen(
        [sys.executable, "-m", "worker.cli", *arguments],
        env=environment, cwd=settings.data, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    peak_mb = 0.0
    while process.poll() is None:
        peak_mb = max(peak_mb, peak_rss_mb(process))
        time.sleep(_POLL_S)
    seconds = time.perf_counter() - began
    if process.returncode != 0:
        raise click.ClickException(f"nightread {' '.join(arguments)} ends with {process.returncode}")
    return {"seconds": round(seconds, 2), "peak_rss_mb": round(peak_mb, 1)}
