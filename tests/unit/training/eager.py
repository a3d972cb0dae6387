"""Training without graphs, for quick tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf


@contextmanager
def eagerly() -> Iterator[None]:
    """Run TensorFlow without graphs: tracing a graph takes longer than a few small batches.

    `trained` in `test_release` and `test_callbacks` train with graphs, as users do.
    """
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)
