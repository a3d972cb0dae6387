"""Compares the speed of the working tree with that of another commit: `make bench-gate BASE=commit`.

Both programs run at the same time on this machine, with the same files, so that other work on the machine slows both
equally, and only ratios count. One after the other, two equal programs differ four times as much. docs/performance.md says
what the margins are worth.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bench.processor_time import IDLE, OTHERS
from worker.config import ROOT

# The medians of two equal programs differ by less.
PROCESSOR_MARGIN = 0.04
# When the faster program has ended, the other one has the machine alone, so this shows half of a difference.
TIME_MARGIN = 0.08


@dataclass(frozen=True)
class Run:
    """The figures of one run of a program.

    Attributes:
        processor_ms: processor time of all its processes, in milliseconds an image.
        time_ms: from the first file in the inbox to the last score, in milliseconds an image.
    """

    processor_ms: float
    time_ms: float


@dataclass(frozen=True)
class Comparison:
    """The medians over the pairs of simultaneous runs: this program's figure, divided by that of the base."""

    processor: float
    time: float

    @property
    def is_slower(self) -> bool:
        """Return whether a median is beyond its margin."""
        return self.processor > 1 + PROCESSOR_MARGIN or self.time > 1 + TIME_MARGIN


def compare(pairs: Sequence[tuple[Run, Run]]) -> Comparison:
    """Compare pairs of the base's run and this program's, one at least."""
    return Comparison(
        statistics.median(now.processor_ms / base.processor_ms for base, now in pairs),
        statistics.median(now.time_ms / base.time_ms for base, now in pairs),
    )


def run_of(document: dict[str, Any]) -> Run:
    """Return the figures of a document of `nightread bench --json`."""
    spent = document["processor_ms_an_image"]
    own = sum(ms for name, ms in spent.items() if name not in {IDLE, OTHERS})
    return Run(own, 1e3 / document["end_to_end_images_per_s"])


def measured(base: Path, now: Path, images: Path, count: int) -> tuple[Run, Run]:
    """Run `nightread bench` of two source trees at the same time. Raises ClickException."""
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(_measured, tree, images, count, port)
            for tree, port in zip((base, now), _free_ports(), strict=True)
        ]
    return runs[0].result(), runs[1].result()


def _measured(tree: Path, images: Path, count: int, port: int) -> Run:
    command = [sys.executable, "-m", "worker.cli", "bench", "--program-only", "--json"]
    completed = subprocess.run(
        [*command, "--images", images, "--count", str(count)],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "NIGHTREAD_PORT": str(port), "NIGHTREAD_DICOM_PORT": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if completed.returncode:
        raise click.ClickException(f"nightread bench failed in {tree}:\n{completed.stderr[-2000:]}")
    return run_of(json.loads(completed.stdout))


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def unpacked(commit: str, folder: Path) -> Path:
    """Write the files of a commit to a new folder. Raises ClickException."""
    folder.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        raise click.ClickException(archive.stderr.decode(errors="replace").strip())
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return folder


@click.command()
@click.argument("base")
@click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder of JPEG files.",
)
@click.option("--count", type=click.IntRange(1), default=1_200, show_default=True, help="Files of each run.")
@click.option(
    "--pairs", "number", type=click.IntRange(1), default=3, show_default=True, help="Runs of each program."
)
def main(base: str, images: Path, count: int, number: int) -> None:
    """Compare the working tree with the commit BASE. Fail if it is slower by more than noise explains."""
    pairs = []
    with tempfile.TemporaryDirectory(prefix="nightread-bench-gate-") as name:
        tree = unpacked(base, Path(name) / "base")
        click.echo(f"{'':8}{'processor time, ms an image':>32}{'time, ms an image':>28}")
        click.echo(f"{'':8}{'base':>12}{'now':>8}{'ratio':>12}{'base':>12}{'now':>8}{'ratio':>8}")
        for pair in range(number):
            before, now = measured(tree, ROOT, images.absolute(), count)
            pairs.append((before, now))
            click.echo(
                f"{f'pair {pair + 1}':8}{before.processor_ms:12.2f}{now.processor_ms:8.2f}"
                f"{now.processor_ms / before.processor_ms:12.3f}"
                f"{before.time_ms:12.2f}{now.time_ms:8.2f}{now.time_ms / before.time_ms:8.3f}"
            )
    found = compare(pairs)
    click.echo(f"{'median':8}{found.processor:32.3f}{found.time:28.3f}")
    click.echo(f"{'limit':8}{1 + PROCESSOR_MARGIN:32.3f}{1 + TIME_MARGIN:28.3f}")
    if found.is_slower:
        raise click.ClickException(f"This program is slower than {base}.")


if __name__ == "__main__":
    main()
