"""Export of the Keras reference to LiteRT, which runs without Keras.

`training.export.onnx` writes ONNX. All formats take 8-bit grey values and give the evidence of each place: see
docs/edge.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import Model
from numpy.typing import NDArray

from training.errors import WrongInput
from training.network.architectures import HEAD
from worker.inference.classifier import EvidenceArray, scores_of

# Post-training quantisation needs the ranges of the activations. With 50, 100, 400 or 1,500 images,
# plain or stressed, children's AUC was the same to the fourth decimal.
REPRESENTATIVE = 400

Inputs = NDArray[np.uint8]
# LiteRT's converter is part of this backend of Keras.
_CONVERTS = "tensorflow"
_MODEL, _INPUTS, _WRITTEN = "model.keras", "inputs.npy", "model.tflite"


def to_int8(model: Model, inputs: Inputs) -> bytes:
    """Quantise a network statically: int8 weights (by channel) and activations, float output.

    Args:
        model: from grey values, shape (n, side, side, 1); it may come from `with_features`.
        inputs: representative training inputs, shape (n, side, side).

    Returns:
        The content of a .tflite file. It takes 8-bit grey values, one image at a time: see
        `LiteRtRuntime`. The same model and inputs give the same bytes.

    Raises:
        WrongInput: Keras runs on another backend, and the conversion with TensorFlow failed.
    """
    if keras.config.backend() != _CONVERTS:
        return _elsewhere(model, inputs)
    import tensorflow as tf

    # The file takes grey values unscaled only if the representative images use the whole range.
    ends = inputs[:1].copy()
    ends.flat[:2] = 0, 255

    def representative() -> Iterator[list[NDArray[np.float32]]]:
        for image in (*inputs, *ends):
            yield [image[np.newaxis, :, :, np.newaxis].astype(np.float32)]

    with _converter(_pooling_by_convolution(model), "float32") as converter:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.float32
        return bytes(converter.convert())


def with_features(model: Model) -> Model:
    """Return the network with a second output: the features of each place that the head makes the evidence of."""
    # Keras would number the model, and its name is part of the file.
    return Model(model.input, [model.output, model.get_layer(HEAD).input], name=model.name)


def to_float(model: Model) -> bytes:
    """Convert a network without quantisation: float32 weights and activations.

    For graphics processors, which have no int8, and for people who quantise for their own chip.

    Args:
        model: from grey values, shape (n, side, side, 1).

    Returns:
        The content of a .tflite file that takes 8-bit grey values, one image at a time.

    Raises:
        WrongInput: as for `to_int8`.
    """
    if keras.config.backend() != _CONVERTS:
        return _elsewhere(model, None)
    with _converter(model, "uint8") as converter:
        return bytes(converter.convert())


@dataclass(frozen=True)
class Parity:
    """Differences between the served network and its reference.

    Attributes:
        images: number of compared images.
        mean_difference: mean absolute difference of p_pneumonia.
        largest_difference: largest absolute difference of p_pneumonia.
        same_side: share of images on the same side of 0.5.
    """

    images: int
    mean_difference: float
    largest_difference: float
    same_side: float


def parity(reference: EvidenceArray, served: EvidenceArray) -> Parity:
    """Compare the evidence of the served network with that of the reference, both of shape (n, h, w, 3)."""
    a = scores_of(reference, 1.0).p_pneumonia
    b = scores_of(served, 1.0).p_pneumonia
    difference = np.abs(a - b)
    same = (a >= 0.5) == (b >= 0.5)  # noqa: PLR2004 - any threshold would do
    return Parity(len(reference), float(difference.mean()), float(difference.max()), float(same.mean()))


def _pooling_by_convolution(model: Model) -> Model:
    """Replace every mean of a window by a convolution with one weight, which computes the same.

    LiteRT's fast kernels (XNNPACK) do not average int8 values. Each average splits the graph and runs on
    slower kernels. Without averages, the shipped network took 0.29 instead of 0.37 ms an image.
    """
    pools = {layer.name for layer in model.layers if _is_mean_of_windows(layer)}
    if not pools:
        return model

    def replaced(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer.name not in pools:
            return layer.__class__.from_config(layer.get_config())
        weight = keras.initializers.Constant(1 / np.prod(layer.pool_size))
        return keras.layers.DepthwiseConv2D(
            layer.pool_size,
            layer.strides,
            depthwise_initializer=weight,
            use_bias=False,
            data_format=layer.data_format,
            name=layer.name,
        )

    copy = keras.models.clone_model(model, clone_function=replaced)
    for layer in copy.layers:
        if layer.name not in pools:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return copy


def _is_mean_of_windows(layer: keras.layers.Layer) -> bool:
    """Return whether a convolution can replace the layer. With `same` padding it would count the padding."""
    return isinstance(layer, keras.layers.AveragePooling2D) and layer.padding == "valid"


@contextmanager
def _converter(model: Model, grey: str) -> Iterator[Any]:
    """Yield LiteRT's converter with one signature: from `grey`, of this type, to the model's outputs by name."""
    import tensorflow as tf

    names = [model.output_names[0], "features"][: len(model.outputs)]
    with tempfile.TemporaryDirectory() as folder:
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint(
            "serve",
            lambda grey: dict(
                zip(names, _as_list(model(tf.cast(grey, tf.float32), training=False)), strict=True)
            ),
            [tf.TensorSpec((1, *model.input_shape[1:]), grey, name="grey")],
        )
        archive.write_out(folder, verbose=False)
        yield tf.lite.TFLiteConverter.from_saved_model(folder)


def _as_list(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def _elsewhere(model: Model, inputs: Inputs | None) -> bytes:
    """Convert in a process whose Keras runs on TensorFlow, whatever backend this process uses."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save(folder / _MODEL)
        if inputs is not None:
            np.save(folder / _INPUTS, inputs)
        command = [sys.executable, "-m", "training.export.litert", name]
        environment = {**os.environ, "KERAS_BACKEND": _CONVERTS}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if result.returncode:
            output = result.stderr.strip().splitlines() or ["no error message"]
            raise WrongInput(f"The conversion to LiteRT, which needs TensorFlow, failed: {output[-1]}.")
        return (folder / _WRITTEN).read_bytes()


def _convert(folder: Path) -> None:
    """Convert the model in a folder that `_elsewhere` prepared."""
    from training.network.architectures import BatchNorm

    model = keras.saving.load_model(folder / _MODEL, {"BatchNorm": BatchNorm}, compile=False)
    quantised = (folder / _INPUTS).is_file()
    content = to_int8(model, np.load(folder / _INPUTS)) if quantised else to_float(model)
    (folder / _WRITTEN).write_bytes(content)


if __name__ == "__main__":
    _convert(Path(sys.argv[1]))
