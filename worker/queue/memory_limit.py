"""How much memory a scoring process may have: what a hostile image can take is bounded by the kernel."""

from __future__ import annotations

import resource


def limit_memory(limit: int) -> None:
    """Let this process have at most `limit` bytes of data; what needs more fails with MemoryError.

    Data, and not address space (setrlimit(2), RLIMIT_DATA and RLIMIT_AS): TensorFlow maps two gigabytes
    that it never touches. Linux counts all private memory as data; other systems may enforce less.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))
