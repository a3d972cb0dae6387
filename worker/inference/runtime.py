"""Runtimes of the network: LiteRT, or TensorFlow for the float reference.

The network computes the *evidence*: three logits at each place, that is, at each cell of the last feature
map, where the graph applies the weights of the head. The mean over all places is the logit of the image. The
evidence for pneumonia at each place is the class activation map (Zhou et al., CVPR 2016). Score and map come
from one output, so they cannot disagree.

The libraries are imported when a runtime is made, because they are large.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from worker.errors import ModelUnusable

_STANDARD_ERROR = 2
# How LiteRT begins a line that is no warning.
_NOTICE = b"INFO: "
_BLOCK = 64 * 1024
# The outputs of a network with features: they, and the evidence.
_WITH_FEATURES = 2


class Runtime(Protocol):
    """Runs the network."""

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the evidence at each place.

        The evidence of an image is the same to the last bit in any batch.

        Args:
            batch: model inputs 0..255, shape (n, side, side).

        Returns:
            Logits (normal, bacterial, viral), shape (n, h, w, 3).
        """
        ...

    def run_with_features(self, batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Compute the evidence, as `run` does, and the features that the head made it of.

        Returns:
            Evidence, shape (n, h, w, 3), and features, shape (n, h, w, c).

        Raises:
            ModelUnusable: the network gives no features.
        """
        ...

    def versions(self) -> dict[str, str]:
        """Return name -> version of the software that computes."""
        ...


class LiteRtRuntime:
    """The int8 network on one thread: each scoring process has one core.

    The interpreter gets one image at a time. On one core, batches of 8 or 32 were no faster (0.39 and
    0.40 ms an image, against 0.40 ms), and without batches no result can depend on them.
    """

    def __init__(self, model: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        try:
            with _without_notices():
                self._interpreter: Any = Interpreter(model_content=model.read_bytes(), num_threads=1)
                self._interpreter.allocate_tensors()
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelUnusable(f"{model} cannot be loaded by LiteRT: {error}.") from error
        self._model = model
        self._input = self._interpreter.get_input_details()[0]
        # A network with features has two outputs. Their order is not fixed; the head has fewer channels than its input.
        self._outputs = sorted(self._interpreter.get_output_details(), key=lambda output: output["shape"][-1])
        _expect_raw_grey(model, self._input)

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Runtime.run`."""
        return self._computed(batch, self._outputs[:1])[0]

    def run_with_features(self, batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `Runtime.run_with_features`."""
        if len(self._outputs) != _WITH_FEATURES:
            raise ModelUnusable(f"{self._model} does not give the features that the distance is measured in.")
        evidence, features = self._computed(batch, self._outputs)
        return evidence, features

    def _computed(
        self, batch: NDArray[np.uint8], outputs: Sequence[dict[str, Any]]
    ) -> list[NDArray[np.float32]]:
        computed = [np.empty((len(batch), *output["shape"][1:]), dtype=np.float32) for output in outputs]
        for index, image in enumerate(batch):
            self._interpreter.set_tensor(self._input["index"], image[np.newaxis, :, :, np.newaxis])
            self._interpreter.invoke()
            for values, output in zip(computed, outputs, strict=True):
                values[index] = _dequantised(self._interpreter.get_tensor(output["index"])[0], output)
        return computed

    def versions(self) -> dict[str, str]:
        """See `Runtime.versions`."""
        return {"ai-edge-litert": version("ai-edge-litert")}


@contextmanager
def _without_notices() -> Iterator[None]:
    """Keep the notices of LiteRT off standard error, which is for people. It has no setting for this.

    It writes to the descriptor. Whatever else is written there meanwhile follows afterwards.
    """
    sys.stderr.flush()
    standard_error = os.dup(_STANDARD_ERROR)
    read_end, write_end = os.pipe()
    # Nobody reads before the end, and another process may keep the pipe open: what is more than it holds is lost.
    os.set_blocking(write_end, False)
    os.set_blocking(read_end, False)
    os.dup2(write_end, _STANDARD_ERROR)
    os.close(write_end)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(standard_error, _STANDARD_ERROR)
        os.close(standard_error)
        written = b""
        with suppress(BlockingIOError):
            while block := os.read(read_end, _BLOCK):
                written += block
        os.close(read_end)
        kept = [line for line in written.splitlines(keepends=True) if not line.startswith(_NOTICE)]
        os.write(_STANDARD_ERROR, b"".join(kept))


class TensorFlowRuntime:
    """The float reference `model.keras`, one image at a time, so that no result depends on the batch."""

    def __init__(self, model: Path) -> None:
        os.environ.setdefault("KERAS_BACKEND", "tensorflow")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        try:
            import keras
        except ImportError as error:
            raise ModelUnusable(f"The tensorflow runtime is not installed: {error}.") from error
        try:
            self._model: Any = keras.saving.load_model(model, compile=False)
        except (OSError, ValueError) as error:
            raise ModelUnusable(f"{model} cannot be loaded by Keras: {error}.") from error
        self._backend = keras.config.backend()

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Runtime.run`."""
        evidence = np.empty((len(batch), *self._model.output_shape[1:]), dtype=np.float32)
        for index, image in enumerate(batch):
            grey = image[np.newaxis, :, :, np.newaxis].astype(np.float32)
            evidence[index] = np.asarray(self._model(grey, training=False))[0]
        return evidence

    def run_with_features(self, batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `Runtime.run_with_features`."""
        both = self._with_features
        evidence, features = (
            np.empty((len(batch), *one.shape[1:]), dtype=np.float32) for one in both.outputs
        )
        for index, image in enumerate(batch):
            grey = image[np.newaxis, :, :, np.newaxis].astype(np.float32)
            computed = both(grey, training=False)
            evidence[index], features[index] = (np.asarray(output)[0] for output in computed)
        return evidence, features

    @cached_property
    def _with_features(self) -> Any:
        """The network with a second output: what its last layer, the head, makes the evidence of."""
        import keras

        return keras.Model(self._model.input, [self._model.output, self._model.layers[-1].input])

    def versions(self) -> dict[str, str]:
        """See `Runtime.versions`."""
        return {"keras": version("keras"), self._backend: version(self._backend)}


def open_runtime(name: str, model: Path) -> Runtime:
    """Load the file of a model.

    Args:
        name: `litert` or `tensorflow`.
        model: the path of model.tflite or model.keras.

    Raises:
        ModelUnusable: the runtime cannot load the file.
        ValueError: there is no such runtime.
    """
    if name == "litert":
        return LiteRtRuntime(model)
    if name == "tensorflow":
        return TensorFlowRuntime(model)
    raise ValueError(f"no runtime {name!r}")


def _expect_raw_grey(model: Path, details: dict[str, Any]) -> None:
    """Check that the input is the grey values themselves: uint8, scale 1, zero point 0."""
    scale, zero_point = details["quantization"]
    if details["dtype"] is not np.uint8 or scale != 1.0 or zero_point != 0:
        raise ModelUnusable(f"{model} does not accept 8-bit grey values without scaling.")


def _dequantised(values: NDArray[Any], details: dict[str, Any]) -> NDArray[np.float32]:
    scale, zero_point = details["quantization"]
    if not scale:
        return values.astype(np.float32)
    real: NDArray[np.float32] = (values.astype(np.int32) - zero_point).astype(np.float32)
    return real * np.float32(scale)
