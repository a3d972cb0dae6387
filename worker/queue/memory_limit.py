"""The memory limit of a scoring process: the kernel enforces it against hostile images."""

from __future__ import annotations

import resource


def limit_memory(limit: int) -> None:
    """Limit this process to `limit` bytes of data: more than that raises MemoryError.

    RLIMIT_DATA is used instead of RLIMIT_AS (setrlimit(2)), because TensorFlow maps two gigabytes of
    address space that it never uses. Linux counts all private memory as data; other systems may count less.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))
