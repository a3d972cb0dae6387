"""The bounded process: makes the pack of one file. Standard input is the file, standard output is the pack.

It limits itself before it reads: address space, processor time and the size of what it writes (setrlimit(2)).
Exit status 3 means that the file cannot be shown; standard error then has the sentence. Exit status 4 means that this
machine failed, which says nothing of the file.
"""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import sys

REFUSED, FAULT = 3, 4
# SIGXCPU comes first, so that the caller can tell why the process ended; SIGKILL follows.
_KILLED_LATER_S = 5
# More than any pack: 4,096 x 4,096 pixels of 16 bits, twice.
_LARGEST_PACK = 96 * 1024**2


def main(sha256: str, memory_bytes: int, cpu_s: int, niceness: int, max_pixels: int) -> int:
    """Make the pack; return the exit status."""
    os.nice(niceness)
    for kind, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, _LARGEST_PACK),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + _KILLED_LATER_S))
    try:
        return _make(sha256, max_pixels)
    except MemoryError:
        sys.stderr.write("Showing the image needs more memory than NIGHTREAD_RENDITION_MEMORY_BYTES.")
        return REFUSED
    except OSError as fault:
        if fault.errno == errno.EFBIG:
            sys.stderr.write("The picture is too large to be shown.")
            return REFUSED
        return FAULT


def _make(sha256: str, max_pixels: int) -> int:
    # Imported under the limits.
    from worker.errors import RejectedImage
    from worker.renditions.drawing import draw
    from worker.renditions.pack import write_pack

    data = sys.stdin.buffer.read()
    if hashlib.sha256(data).hexdigest() != sha256:
        sys.stderr.write("The stored bytes have changed since the file arrived.")
        return REFUSED
    try:
        facts, pictures = draw(data, max_pixels)
    except RejectedImage as rejected:
        sys.stderr.write(rejected.sentence)
        return REFUSED
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as output:
        write_pack(output, facts, pictures)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *(int(text) for text in sys.argv[2:])))
