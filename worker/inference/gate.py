"""The gate: rejects images that are not frontal chest radiographs, before they are scored.

First, a check without a model rejects blank and saturated images. Then a small network of the bundle, which
sees the model input at 64 x 64 pixels, decides whether the image is a frontal chest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from worker.card.loading import parse_section
from worker.card.schema import GateSection
from worker.errors import REJECTIONS, ModelUnusable, RejectedImage
from worker.inference.exposure import bounds, counts_of
from worker.inference.runtime import LiteRtRuntime, Runtime
from worker.inference.softmax import softmax

FILE = "gate.tflite"
SECTION = "gate"
FRONTAL = "frontal"

# Grey levels between the 1st and the 99th percentile. The smallest span of 5,910 real radiographs
# (of children and adults) is 85; a page of one colour with JPEG noise spans 0 to 4.
# Below 16 levels the stretch to 256 would enlarge coding noise more than sixteenfold.
SMALLEST_SPAN = 16
# The share of pixels within 2 levels of pure black or pure white. The largest share of 5,749 real
# radiographs is 0.45: a small chest on a black plate.
LARGEST_SATURATED = 0.9
_NEARLY = 2
_WHITE = 255


def check_exposure(grey: NDArray[np.uint8]) -> None:
    """Reject an image that is blank or saturated.

    Args:
        grey: grey values 0..255 *before* the exposure is stretched, shape (side, side).

    Raises:
        RejectedImage: `blank` when the grey values hardly differ; `saturated` when nearly all of them are
            pure black or pure white.
    """
    counts = counts_of(grey)
    low, high = bounds(counts)
    if high - low < SMALLEST_SPAN:
        raise RejectedImage("blank")
    saturated = counts[: _NEARLY + 1].sum() + counts[_WHITE - _NEARLY :].sum()
    if saturated > LARGEST_SATURATED * grey.size:
        raise RejectedImage("saturated")


@dataclass(frozen=True)
class GateNetwork:
    """The network of a gate.

    Attributes:
        runtime: computes the logits of the labels, shape (n, len(labels)), from inputs of shape (n, side, side).
        labels: `frontal`, then keys of `REJECTIONS`.
        side: edge of its input, in pixels.
        threshold: an image is rejected when 1 - p(frontal) is above it.
    """

    runtime: Runtime
    labels: tuple[str, ...]
    side: int
    threshold: float


class Gate:
    """Rejects model inputs that must not be scored. Not for use by two threads at the same time."""

    def __init__(self, network: GateNetwork | None) -> None:
        """Use this network; None, for a bundle without a gate: every model input passes."""
        self._network = network

    def check(self, model_input: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the model input if it may be scored.

        Args:
            model_input: from `to_model_input`, shape (side, side).

        Raises:
            RejectedImage: with the most likely reason.
        """
        if self._network is not None:
            code = self.codes(model_input[np.newaxis])[0]
            if code is not None:
                raise RejectedImage(code)
        return model_input

    def codes(self, inputs: NDArray[np.uint8]) -> list[str | None]:
        """Return the rejection code of each model input, shape (n, side, side); None: it may be scored."""
        network = self._network
        if network is None:
            return [None] * len(inputs)
        probabilities = softmax(network.runtime.run(downsample(inputs, network.side)))
        return [rejection_code(row, network.labels, network.threshold) for row in probabilities]


def downsample(inputs: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Average model inputs, shape (n, s, s), down to the input of a gate network, shape (n, side, side)."""
    small = np.empty((len(inputs), side, side), dtype=np.uint8)
    for index, grey in enumerate(inputs):
        small[index] = np.asarray(Image.fromarray(grey).resize((side, side), Image.Resampling.BOX))
    return small


def rejection_code(probabilities: NDArray[np.float64], labels: Sequence[str], threshold: float) -> str | None:
    """Return the most likely label other than the first, if the first is not likely enough; else None.

    Args:
        probabilities: of the labels, shape (k,); they add up to 1.
        labels: the first one means that the image may be scored.
        threshold: the image is rejected if 1 - probabilities[0] is above it.
    """
    if 1 - probabilities[0] <= threshold:
        return None
    return labels[1 + int(np.argmax(probabilities[1:]))]


def open_gate(folder: Path, card: Mapping[str, Any]) -> Gate:
    """Load the gate of a bundle, whose files `load_bundle` has verified.

    Args:
        folder: the folder of the bundle.
        card: its card. Without a section `gate`, every model input passes.

    Raises:
        ModelUnusable: the section or the file is missing or not valid.
    """
    has_file = FILE in card.get("files", {})
    if SECTION not in card and not has_file:
        return Gate(None)
    if not (SECTION in card and has_file):
        present, missing = (
            (f"the file {FILE}", "section gate") if has_file else ("a section gate", f"file {FILE}")
        )
        raise ModelUnusable(f"The card of the model in {folder} has {present} but no {missing}.")
    section = _parse(folder, card[SECTION])
    network = GateNetwork(
        LiteRtRuntime(folder / FILE), tuple(section.labels), section.side, section.threshold
    )
    _check_network(folder, network)
    return Gate(network)


def _parse(folder: Path, raw: object) -> GateSection:
    section = parse_section(GateSection, raw, folder, SECTION)
    first_label, *others = section.labels
    unknown = [label for label in others if label not in REJECTIONS]
    if first_label != FRONTAL or unknown:
        wrong = unknown[0] if unknown else first_label
        raise ModelUnusable(
            f"The gate of the model in {folder} has the label {wrong!r}, which this program does not know."
        )
    return section


def _check_network(folder: Path, network: GateNetwork) -> None:
    """Run the network once, so that an incompatible file stops the worker at its start."""
    try:
        logits = network.runtime.run(np.zeros((1, network.side, network.side), dtype=np.uint8))
    except ValueError as error:
        raise ModelUnusable(
            f"{FILE} in {folder} does not accept {network.side} x {network.side} pixels."
        ) from error
    if logits.shape != (1, len(network.labels)):
        raise ModelUnusable(
            f"{FILE} in {folder} computes {logits[0].size} numbers, but its card has {len(network.labels)} labels."
        )
