"""The shipped network."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import Input, Model, layers

from training.recipe import NetworkSection, Stage

_CLASSES = 3
# The name of the last layer; no pretrained weights exist for it.
HEAD = "evidence"


def inverted_residual(network: NetworkSection, *, folded: bool = False) -> Model:
    """Build a small network of inverted residuals (Sandler et al., CVPR 2018) without squeeze-and-excitation.

    With the numbers of the shipped recipe it is the front of EfficientNet-Lite0, whose layers were chosen for
    8-bit integers on CPUs.

    Every layer has an explicit name. Keras would number layers through the life of the process, and layer
    names are part of the exported files.

    Args:
        network: its shape.
        folded: whether to leave the batch norms out: see `fold`.

    Returns:
        A model from grey values 0..255, shape (n, side, side, 1), to the evidence of each place:
        logits of shape (n, side / 16, side / 16, 3) if four convolutions halve the side. The head is a 1 x 1
        convolution. The mean of its output over the places equals pooling and a dense layer, so
        the activation map (Zhou et al., CVPR 2016) comes out of the graph itself.
    """
    grey = Input((network.side, network.side, 1), name="grey")
    # The pretrained weights expect -1 to 1. Padding then is mid grey, not black.
    x = layers.Rescaling(1 / 128, -127 / 128, name="centred")(grey)
    x = _active(_conv(network.stem, "stem", kernel=3, stride=2, folded=folded)(x), "stem", folded)
    for name, block in named_blocks(network):
        x = _inverted(x, block, name, folded=folded)
    x = x if folded else layers.SpatialDropout2D(network.dropout, name="dropout")(x)
    evidence = layers.Conv2D(_CLASSES, 1, name=HEAD)(x)
    return Model(grey, evidence, name="inverted_residual")


def named_blocks(network: NetworkSection) -> list[tuple[str, Stage]]:
    """Return every inverted residual as a stage of one block, with the prefix of its layer names."""
    blocks: list[tuple[str, Stage]] = []
    for stage in network.stages:
        for index in range(stage.blocks):
            stride = stage.stride if index == 0 else 1
            blocks.append((f"block{len(blocks)}", stage.model_copy(update={"blocks": 1, "stride": stride})))
    return blocks


def pooled(evidence: Model) -> Model:
    """Return the network with the mean over the places: logits of shape (n, 3), for training."""
    return Model(evidence.input, layers.GlobalAveragePooling2D(name="mean")(evidence.output))


def fold(trained: Model, folded: Model) -> Model:
    """Multiply each batch norm into the convolution before it (Ding et al., CVPR 2021, section 3.3).

    Args:
        trained: the network with batch norms.
        folded: the same network built without; this function sets its weights.

    Returns:
        `folded`, which computes what `trained` computes at inference.
    """
    for layer in folded.layers:
        if not isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
            continue
        source = trained.get_layer(layer.name)
        norms = [candidate for candidate in trained.layers if candidate.name == f"{layer.name}_norm"]
        layer.set_weights(_absorbed(source, norms[0]) if norms else source.get_weights())
    return folded


class BatchNorm(layers.BatchNormalization):  # type: ignore[misc]  # Keras has no types
    """Batch normalisation in one fused kernel.

    Keras 3 composes it of a dozen operations on TensorFlow, which took 60 % of a training step on two
    cores. The fused kernel makes a step 2.3 times as fast.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:  # noqa: FBT001
        """Normalise by the batch and update the moving statistics, or normalise by the moving statistics."""
        if not training or keras.config.backend() != "tensorflow":
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        normed, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon, is_training=True
        )
        for moving, current in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + current * (1 - self.momentum))
        return normed


def multiply_adds(model: Model) -> int:
    """Return the multiply-adds of the convolutions for one image."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
            _, height, width, channels = layer.output.shape
            rows, columns, inputs, _ = layer.kernel.shape
            inputs_a_filter = 1 if isinstance(layer, layers.DepthwiseConv2D) else inputs
            total += height * width * channels * rows * columns * inputs_a_filter
    return total


def _inverted(x: Any, block: Stage, name: str, *, folded: bool) -> Any:
    """Expand, convolve each channel, project; add the input if the shapes match."""
    inner, width = x, x.shape[-1] * block.expand
    if block.expand > 1:
        expand = f"{name}_expand"
        inner = _active(_conv(width, expand, folded=folded)(inner), expand, folded)
    depthwise, project = f"{name}_depthwise", f"{name}_project"
    convolution = layers.DepthwiseConv2D(
        block.kernel, block.stride, padding="same", use_bias=folded, name=depthwise
    )
    inner = _active(convolution(inner), depthwise, folded)
    inner = _normed(_conv(block.width, project, folded=folded)(inner), project, folded)
    return layers.Add(name=f"{name}_sum")([x, inner]) if x.shape == inner.shape else inner


def _conv(width: int, name: str, *, kernel: int = 1, stride: int = 1, folded: bool) -> layers.Layer:
    return layers.Conv2D(width, kernel, stride, padding="same", use_bias=folded, name=name)


def _normed(x: Any, name: str, folded: bool) -> Any:  # noqa: FBT001 - as its callers have it
    return x if folded else BatchNorm(momentum=0.98, name=f"{name}_norm")(x)


def _active(x: Any, name: str, folded: bool) -> Any:  # noqa: FBT001 - as its callers have it
    """Normalise, then clip to 6, so that 8 bits resolve the values below."""
    return layers.ReLU(max_value=6.0, name=f"{name}_relu")(_normed(x, name, folded))


def _absorbed(conv: layers.Layer, norm: layers.Layer) -> list[Any]:
    gamma, beta, mean, variance = norm.get_weights()
    scale = gamma / (variance + norm.epsilon) ** 0.5
    kernel = conv.get_weights()[0]
    # A depthwise convolution has one filter a channel; its channels are the last axis but one.
    axis_scale = scale[:, np.newaxis] if isinstance(conv, layers.DepthwiseConv2D) else scale
    return [kernel * axis_scale, beta - mean * scale]
