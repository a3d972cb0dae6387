"""The networks: the shipped one, and that of the application that Nightread replaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import Input, Model, Sequential, layers

_CLASSES = 3


def plain_residual(side: int, widths: Sequence[int], dropout: float) -> Model:
    """A small residual network of plain 3 x 3 convolutions (He et al., CVPR 2016).

    Plain convolutions, since they are what integer kernels on a CPU run fastest.

    Args:
        side: edge of the input, in pixels; a multiple of 16.
        widths: channels at 1/2, 1/4, 1/8 and 1/16 of the side.
        dropout: share of feature maps dropped before the head, in training.

    Returns:
        A model from grey values 0..255, shape (n, side, side, 1), to the evidence of each place:
        logits of shape (n, side / 16, side / 16, 3). The head is a 1 x 1 convolution, and its
        mean over the places is exactly what pooling and a dense layer would give, so the
        activation map (Zhou et al., CVPR 2016) comes out of the graph itself.
    """
    grey = Input((side, side, 1), name="grey")
    x = layers.Rescaling(1 / 255)(grey)
    x = _conv_bn(x, widths[0], stride=2, relu=True)
    x = _residual(x, widths[1], stride=2)
    x = _residual(x, widths[2], stride=2)
    x = _residual(x, widths[2])
    x = _residual(x, widths[3], stride=2)
    x = _residual(x, widths[3])
    x = layers.SpatialDropout2D(dropout)(x)
    return Model(grey, layers.Conv2D(_CLASSES, 1, name="evidence")(x), name="plain_residual")


def pooled(evidence: Model) -> Model:
    """The same network with the mean over the places: logits of shape (n, 3), to train on."""
    return Model(evidence.input, layers.GlobalAveragePooling2D()(evidence.output))


def seed_cnn() -> Model:
    """The network of the replaced application: 128 x 128 RGB in 0..1 to one probability."""
    stages = [layer for width in (32, 64, 128) for layer in _seed_stage(width)]
    return Sequential(
        [
            Input((128, 128, 3)),
            *stages,
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(256, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def multiply_adds(model: Model) -> int:
    """Multiply-adds of the convolutions for one image."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D):
            _, height, width, channels = layer.output.shape
            rows, columns, inputs, _ = layer.kernel.shape
            total += height * width * channels * rows * columns * inputs
    return total


def _conv_bn(x: Any, width: int, *, kernel: int = 3, stride: int = 1, relu: bool = False) -> Any:
    x = layers.Conv2D(width, kernel, stride, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(momentum=0.98)(x)
    return layers.ReLU()(x) if relu else x


def _residual(x: Any, width: int, stride: int = 1) -> Any:
    inner = _conv_bn(x, width, stride=stride, relu=True)
    inner = _conv_bn(inner, width)
    if stride != 1:
        x = layers.AveragePooling2D(stride)(x)
    if x.shape[-1] != width:
        x = _conv_bn(x, width, kernel=1)
    return layers.ReLU()(layers.Add()([x, inner]))


def _seed_stage(width: int) -> list[layers.Layer]:
    return [layers.Conv2D(width, 3, activation="relu"), layers.MaxPooling2D()]
