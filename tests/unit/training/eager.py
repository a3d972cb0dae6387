"""Training without graphs, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf


@contextmanager
def eagerly() -> Iterator[None]:
    """Run TensorFlow operation by operation: a few small batches take less time than tracing their graph.

    `trained` in `test_release` and `test_callbacks` train with graphs, as users do.
    """
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)
