"""The network of the replaced application."""

from __future__ import annotations

from keras import Input, Model, Sequential, layers


def baseline_cnn() -> Model:
    """Return the replaced application's network: from 128 x 128 RGB in 0..1 to one probability."""
    stages = [layer for width in (32, 64, 128) for layer in _stage(width)]
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


def _stage(width: int) -> list[layers.Layer]:
    return [layers.Conv2D(width, 3, activation="relu"), layers.MaxPooling2D()]
