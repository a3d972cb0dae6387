"""The shape of the lung network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from training.network.architectures import BatchNorm


def lung_network(side: int, widths: Sequence[int]) -> keras.Model:
    """Build a small U-net (Ronneberger et al., MICCAI 2015) of depthwise separable convolutions.

    Layers have explicit names: Keras would number them through the life of the process, and names are exported.

    Args:
        side: edge of the input, in pixels; a multiple of 2 ** (len(widths) - 1).
        widths: channels at the full side, at half of it, and so on.

    Returns:
        A model from grey values 0..255, shape (n, side, side, 1), to the log-odds that each place is lung, shape
        (n, side, side, 1).
    """
    grey = keras.Input((side, side, 1), name="grey")
    x = layers.Rescaling(1 / 128, -127 / 128, name="centred")(grey)
    kept = []
    for depth, width in enumerate(widths):
        x = x if depth == 0 else layers.MaxPooling2D(name=f"down{depth}")(x)
        x = _stage(x, width, f"encode{depth}")
        kept.append(x)
    for depth in reversed(range(len(widths) - 1)):
        x = layers.UpSampling2D(interpolation="nearest", name=f"up{depth}")(x)
        x = layers.Concatenate(name=f"join{depth}")([x, kept[depth]])
        x = _stage(x, widths[depth], f"decode{depth}")
    return keras.Model(grey, layers.Conv2D(1, 1, name="lung")(x), name="lungs")


def _stage(x: Any, width: int, name: str) -> Any:
    """Convolve, then convolve each channel, then mix the channels; each with a batch norm and a ReLU."""
    convolutions = (
        layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{name}_in"),
        layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_depthwise"),
        layers.Conv2D(width, 1, use_bias=False, name=f"{name}_mix"),
    )
    for convolution in convolutions:
        normed = BatchNorm(momentum=0.95, name=f"{convolution.name}_norm")(convolution(x))
        x = layers.ReLU(name=f"{convolution.name}_relu")(normed)
    return x
