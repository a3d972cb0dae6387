"""The commands `nightread bench`, `nightread bench-dicom` and `nightread bench-ledger`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from worker import logs
from worker.config import Settings, read_settings


@click.command()
@click.option(
    "--images",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder of JPEG files.",
)
@click.option(
    "--count", type=click.IntRange(1), default=2_000, help="Number of distinct files to make from the images."
)
@click.option(
    "--program-only", is_flag=True, help="Without the upper limit, the replaced application and idle uploads."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def bench(folder: Path, count: int, *, program_only: bool, as_json: bool) -> None:
    """Measure this machine: throughput, its upper limit, uploads under load."""
    from bench import throughput

    document = throughput.measure(_start(), folder.absolute(), count, program_only=program_only)
    click.echo(_json(document) if as_json else throughput.as_text(document))


@click.command(name="bench-dicom")
@click.option(
    "--count",
    type=click.IntRange(1),
    default=400,
    help="Objects of each round: the same number, a half or a quarter.",
)
@click.option("--rounds", type=click.IntRange(1), default=5, help="Rounds of the loop and of the program.")
@click.option("--width", type=click.IntRange(256, 8_000), default=2_000, help="Columns of each object.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def bench_dicom(count: int, rounds: int, width: int, as_json: bool) -> None:
    """Measure DICOM objects of four transfer syntaxes: throughput, its upper limit, memory.

    A round has COUNT native and JPEG lossless objects, half of them in JPEG-LS and a quarter in JPEG 2000.
    """
    from bench import dicom

    document = dicom.measure(_start(), count, rounds, width)
    click.echo(_json(document) if as_json else dicom.as_text(document))


@click.command(name="bench-ledger")
@click.argument("images", type=click.IntRange(1_000, 100_000_000), default=1_000_000)
@click.option("--pages-only", is_flag=True, help="No commands: verifying a million images takes minutes.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def bench_ledger(images: int, *, pages_only: bool, as_json: bool) -> None:
    """Measure pages, API and commands on a synthetic ledger of IMAGES images.

    The ledger is a SQLite file that is removed afterwards, or the empty database of NIGHTREAD_DATABASE_URL.
    """
    from bench import ledger

    document = ledger.measure(_start(), images, commands=not pages_only)
    click.echo(_json(document) if as_json else ledger.as_text(document))


def _start() -> Settings:
    settings = read_settings()
    logs.configure(settings, "bench")
    return settings


def _json(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)
