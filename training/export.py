"""From the Keras reference to the int8 network that is served."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import Model
from numpy.typing import NDArray

from worker.inference.classifier import scores_of

# Post-training quantisation needs the ranges of the activations, which some hundred images show.
REPRESENTATIVE = 400


def to_int8(model: Model, inputs: NDArray[np.uint8]) -> bytes:
    """Quantise a network statically: int8 weights and activations, 8-bit grey in, float out.

    Args:
        model: from grey values, shape (n, side, side, 1), to the evidence of each place.
        inputs: representative training inputs, shape (n, side, side).

    Returns:
        The content of a .tflite file. It takes one image at a time: see `LiteRtRuntime`.
    """
    import tensorflow as tf

    def representative() -> Iterator[list[NDArray[np.float32]]]:
        for image in inputs:
            yield [image[np.newaxis, :, :, np.newaxis].astype(np.float32)]

    with tempfile.TemporaryDirectory() as folder:
        signature = [tf.TensorSpec((1, *model.input_shape[1:]), tf.float32)]
        model.export(folder, input_signature=signature, verbose=False)
        converter: Any = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.float32
        return bytes(converter.convert())


@dataclass(frozen=True)
class Parity:
    """How far the served network is from its reference.

    Attributes:
        images: how many were compared.
        mean_difference: of p_pneumonia, absolute, on average.
        largest_difference: of p_pneumonia, absolute.
        same_side: share of images that fall on the same side of 0.5.
    """

    images: int
    mean_difference: float
    largest_difference: float
    same_side: float


def parity(model: Model, served: NDArray[np.float32], inputs: NDArray[np.uint8]) -> Parity:
    """Compare what model.tflite gave with the reference.

    Args:
        model: the reference.
        served: the evidence that `LiteRtRuntime` gave, shape (n, h, w, 3).
        inputs: what it was given, shape (n, side, side).
    """
    reference = model.predict(inputs[..., np.newaxis].astype(np.float32), batch_size=64, verbose=0)
    a = scores_of(np.asarray(reference), 1.0).p_pneumonia
    b = scores_of(served, 1.0).p_pneumonia
    difference = np.abs(a - b)
    same = (a >= 0.5) == (b >= 0.5)  # noqa: PLR2004 - any threshold would do
    return Parity(len(inputs), float(difference.mean()), float(difference.max()), float(same.mean()))
