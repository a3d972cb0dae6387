"""Writes the pictures of a bundle: a diagram of each network, and a sheet of sample predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from training.data.radiographs import Radiograph, list_folders
from training.description.diagram import diagram
from training.description.graph import read_graph
from training.description.samples import phantom_set, sheet
from training.evaluation.scoring import score_images
from worker.card.identity import NETWORK
from worker.inference import gate
from worker.inference.bundle import Bundle

SAMPLES = "samples.png"


def describe(
    bundle: Bundle, folder: Path, radiographs: Sequence[Radiograph] | None, print_line: Callable[[str], None]
) -> None:
    """Write the pictures into a folder, which is made if it is missing.

    Args:
        bundle: the model. Each .tflite file that its card names gets a diagram.
        folder: for the pictures.
        radiographs: the images to choose samples from; None: phantoms.
        print_line: called with the path of each file.

    Raises:
        ModelUnusable: a file of the bundle cannot be read or run.
        NothingScored: no image could be scored.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(name for name in bundle.card["files"] if name.endswith(".tflite")):
        drawn = diagram(
            read_graph(bundle.folder / name), f"{bundle.name} {bundle.version}", _outputs(bundle, name)
        )
        path = folder / f"{Path(name).stem}.svg"
        path.write_text(drawn, encoding="utf-8")
        print_line(f"wrote {path}")
    path = folder / SAMPLES
    if radiographs is None:
        with phantom_set() as root:
            drawn_sheet = sheet(score_images(bundle, list_folders(root)), phantoms=True)
    else:
        drawn_sheet = sheet(score_images(bundle, radiographs), phantoms=False)
    drawn_sheet.save(path, "PNG", optimize=True)
    print_line(f"wrote {path}")


def _outputs(bundle: Bundle, name: str) -> tuple[str, ...]:
    """Return the meaning of a network's outputs, as far as the card states it."""
    if name == NETWORK:
        return bundle.labels
    return tuple(bundle.card[gate.SECTION]["labels"]) if name == gate.FILE else ()
