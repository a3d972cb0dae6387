"""The networks: the shipped one, and that of the application that Nightread replaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import Input, Model, Sequential, layers

_CLASSES = 3
_STEM = "stem"


def plain_residual(
    side: int, widths: Sequence[int], depth: int, dropout: float, *, folded: bool = False
) -> Model:
    """A small residual network of plain 3 x 3 convolutions (He et al., CVPR 2016).

    Plain convolutions, since they are what integer kernels on a CPU run fastest.

    Args:
        side: edge of the input, in pixels; a multiple of 16.
        widths: channels at 1/2, 1/4, 1/8 and 1/16 of the side.
        depth: residual blocks at each of the two smallest sizes.
        dropout: share of feature maps dropped before the head, in training.
        folded: without batch norms: see `fold`.

    Returns:
        A model from grey values 0..255, shape (n, side, side, 1), to the evidence of each place:
        logits of shape (n, side / 16, side / 16, 3). The head is a 1 x 1 convolution, and its
        mean over the places is exactly what pooling and a dense layer would give, so the
        activation map (Zhou et al., CVPR 2016) comes out of the graph itself.
    """
    grey = Input((side, side, 1), name="grey")
    x = layers.Rescaling(1 / 255)(grey)
    x = layers.ReLU()(_conv(x, widths[0], _STEM, stride=2, folded=folded))
    x = _residual(x, widths[1], "a1", stride=2, folded=folded)
    for stage, width in zip("bc", widths[2:], strict=True):
        for place in range(depth):
            x = _residual(x, width, f"{stage}{place + 1}", stride=1 if place else 2, folded=folded)
    x = x if folded else layers.SpatialDropout2D(dropout)(x)
    evidence = layers.Conv2D(_CLASSES, 1, name="evidence", dtype="float32")(x)
    return Model(grey, evidence, name="plain_residual")


def pooled(evidence: Model) -> Model:
    """The same network with the mean over the places: logits of shape (n, 3), to train on."""
    return Model(evidence.input, layers.GlobalAveragePooling2D(dtype="float32")(evidence.output))


def fold(trained: Model, folded: Model) -> Model:
    """Multiply each batch norm into the convolution before it (Ding et al., CVPR 2021, section 3.3).

    Args:
        trained: with batch norms.
        folded: the same network built without; its weights are set.

    Returns:
        `folded`, which computes what `trained` does at inference.
    """
    for layer in folded.layers:
        if not isinstance(layer, layers.Conv2D):
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


def _conv(x: Any, width: int, name: str, *, kernel: int = 3, stride: int = 1, folded: bool) -> Any:
    x = layers.Conv2D(width, kernel, stride, padding="same", use_bias=folded, name=name)(x)
    # Without autocast its own four vectors stay in full precision.
    return x if folded else BatchNorm(momentum=0.98, autocast=False, name=f"{name}_norm")(x)


def _residual(x: Any, width: int, name: str, *, stride: int, folded: bool) -> Any:
    inner = layers.ReLU()(_conv(x, width, f"{name}_1", stride=stride, folded=folded))
    inner = _conv(inner, width, f"{name}_2", folded=folded)
    if stride != 1:
        x = layers.AveragePooling2D(stride)(x)
    if x.shape[-1] != width:
        x = _conv(x, width, f"{name}_shortcut", kernel=1, folded=folded)
    return layers.ReLU()(layers.Add()([x, inner]))


def _absorbed(conv: layers.Layer, norm: layers.Layer) -> list[Any]:
    gamma, beta, mean, variance = norm.get_weights()
    scale = gamma / (variance + norm.epsilon) ** 0.5
    return [conv.get_weights()[0] * scale, beta - mean * scale]


def _seed_stage(width: int) -> list[layers.Layer]:
    return [layers.Conv2D(width, 3, activation="relu"), layers.MaxPooling2D()]
