"""The shipped network."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import Input, Model, layers

from training.recipe import NetworkSection, Stage

_CLASSES = 3
# The name of the last layer, which nothing pretrained has.
HEAD = "evidence"


def inverted_residual(network: NetworkSection, *, folded: bool = False) -> Model:
    """A small network of inverted residuals (Sandler et al., CVPR 2018) without squeeze-and-excitation.

    Every layer has a name of its own: Keras would count on through a process, and names are part of
    what is exported.

    With the shipped recipe's numbers it is the front of EfficientNet-Lite0, whose layers were chosen for
    8-bit integers on a CPU.

    Args:
        network: its shape.
        folded: without batch norms: see `fold`.

    Returns:
        A model from grey values 0..255, shape (n, side, side, 1), to the evidence of each place:
        logits of shape (n, side / 16, side / 16, 3) if four of the convolutions halve the side. The
        head is a 1 x 1 convolution, and its mean over the places is exactly what pooling and a
        dense layer would give, so the activation map (Zhou et al., CVPR 2016) comes out of the
        graph itself.
    """
    grey = Input((network.side, network.side, 1), name="grey")
    # -1 to 1, as what is pretrained was shown: beyond the edge the convolutions see mid grey, not black.
    x = layers.Rescaling(1 / 128, -127 / 128, name="centred")(grey)
    x = _active(_conv(network.stem, "stem", kernel=3, stride=2, folded=folded)(x), "stem", folded)
    for name, block in named_blocks(network):
        x = _inverted(x, block, name, folded=folded)
    x = x if folded else layers.SpatialDropout2D(network.dropout, name="dropout")(x)
    evidence = layers.Conv2D(_CLASSES, 1, name=HEAD)(x)
    return Model(grey, evidence, name="inverted_residual")


def named_blocks(network: NetworkSection) -> list[tuple[str, Stage]]:
    """The inverted residuals one by one, each as a stage of one block, with the name that its layers begin with."""
    found: list[tuple[str, Stage]] = []
    for stage in network.stages:
        for place in range(stage.blocks):
            stride = stage.stride if place == 0 else 1
            found.append((f"block{len(found)}", stage.model_copy(update={"blocks": 1, "stride": stride})))
    return found


def pooled(evidence: Model) -> Model:
    """The same network with the mean over the places: logits of shape (n, 3), to train on."""
    return Model(evidence.input, layers.GlobalAveragePooling2D(name="mean")(evidence.output))


def fold(trained: Model, folded: Model) -> Model:
    """Multiply each batch norm into the convolution before it (Ding et al., CVPR 2021, section 3.3).

    Args:
        trained: with batch norms.
        folded: the same network built without; its weights are set.

    Returns:
        `folded`, which computes what `trained` does at inference.
    """
    for layer in folded.layers:
        if not isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
            continue
        learnt = trained.get_layer(layer.name)
        norms = [each for each in trained.layers if each.name == f"{layer.name}_norm"]
        layer.set_weights(_absorbed(learnt, norms[0]) if norms else learnt.get_weights())
    return folded


class BatchNorm(layers.BatchNormalization):  # type: ignore[misc]  # Keras has no types
    """Batch normalisation in one kernel.

    Keras 3 puts it together of a dozen operations on TensorFlow, which took 60 % of a training
    step on two cores; the fused kernel makes a step 2.3 times as fast.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:  # noqa: FBT001
        """Normalise by the batch and follow its statistics, or by the statistics so far."""
        if not training or keras.config.backend() != "tensorflow":
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        normed, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon, is_training=True
        )
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + now * (1 - self.momentum))
        return normed


def multiply_adds(model: Model) -> int:
    """Multiply-adds of the convolutions for one image."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
            _, height, width, channels = layer.output.shape
            rows, columns, inputs, _ = layer.kernel.shape
            each = 1 if isinstance(layer, layers.DepthwiseConv2D) else inputs
            total += height * width * channels * rows * columns * each
    return total


def _inverted(x: Any, block: Stage, name: str, *, folded: bool) -> Any:
    """Widen, look around in each channel by itself, narrow; added to what came in if the shape is the same."""
    inner, width = x, x.shape[-1] * block.expand
    if block.expand > 1:
        expand = f"{name}_expand"
        inner = _active(_conv(width, expand, folded=folded)(inner), expand, folded)
    depthwise, project = f"{name}_depthwise", f"{name}_project"
    look = layers.DepthwiseConv2D(block.kernel, block.stride, padding="same", use_bias=folded, name=depthwise)
    inner = _active(look(inner), depthwise, folded)
    inner = _normed(_conv(block.width, project, folded=folded)(inner), project, folded)
    return layers.Add(name=f"{name}_sum")([x, inner]) if x.shape == inner.shape else inner


def _conv(width: int, name: str, *, kernel: int = 1, stride: int = 1, folded: bool) -> layers.Layer:
    return layers.Conv2D(width, kernel, stride, padding="same", use_bias=folded, name=name)


def _normed(x: Any, name: str, folded: bool) -> Any:  # noqa: FBT001 - as its callers have it
    return x if folded else BatchNorm(momentum=0.98, name=f"{name}_norm")(x)


def _active(x: Any, name: str, folded: bool) -> Any:  # noqa: FBT001 - as its callers have it
    """Normalised, and limited, so that 8 bits are fine enough for what is below the limit."""
    return layers.ReLU(max_value=6.0, name=f"{name}_relu")(_normed(x, name, folded))


def _absorbed(conv: layers.Layer, norm: layers.Layer) -> list[Any]:
    gamma, beta, mean, variance = norm.get_weights()
    scale = gamma / (variance + norm.epsilon) ** 0.5
    kernel = conv.get_weights()[0]
    # One filter a channel: the channels are the last axis but one.
    along = scale[:, np.newaxis] if isinstance(conv, layers.DepthwiseConv2D) else scale
    return [kernel * along, beta - mean * scale]
