"""Speed of the replaced application: `python -m training.baseline.speed --images DIR --count N --json`.

It decoded each file completely, converted it to RGB and 128 x 128, divided by 255 and called `model.predict`
on each image alone. The weights do not affect the speed; they are random.
"""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path

import click

from training.baseline.images import network_input
from training.baseline.network import baseline_cnn

_SUFFIXES = {".jpeg", ".jpg", ".png"}


@click.command()
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--count", type=click.IntRange(min=1), default=100, show_default=True, help="Images to score.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def main(images: Path, count: int, *, as_json: bool) -> None:
    """Time the scoring of images as the replaced application did it."""
    paths = sorted(path for path in images.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not paths:
        raise click.UsageError(f"{images} holds no JPEG or PNG file.")
    chosen = list(itertools.islice(itertools.cycle(paths), count))
    rate = images_per_second(chosen)
    click.echo(
        json.dumps({"images_per_s": rate, "count": count}) if as_json else f"{rate:.1f} images a second"
    )


def images_per_second(paths: list[Path]) -> float:
    """Score files one by one, after one for warming up."""
    model = baseline_cnn()
    model.predict(network_input(paths[0]), verbose=0)
    started = time.perf_counter()
    for path in paths:
        model.predict(network_input(path), verbose=0)
    return len(paths) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
