"""The bounded process: decodes one object after the other. It is started by `worker.dicom.decoder`.

It limits itself before it loads a decoder: address space for all time, processor time for each object (setrlimit(2)).
It ends with its standard input, so it does not outlive the process that started it.

Messages (all numbers big endian): an object is its length in eight bytes, then its bytes. An answer is the length of
a JSON document in four bytes, the document, and the grey values if the document has `shape`. A document with `fault` says
nothing of the object: this machine failed.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import struct
import sys
from typing import Any, BinaryIO

OBJECT_HEAD, ANSWER_HEAD = struct.Struct(">Q"), struct.Struct(">L")
# SIGXCPU comes first, so that the caller can tell why the process ended; SIGKILL follows.
_KILLED_LATER_S = 5


def main(memory_bytes: int, cpu_s: float) -> None:
    """Answer until the input ends."""
    for kind, limit in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(kind, (limit, limit))
    source, target = sys.stdin.buffer, sys.stdout.buffer
    # What a library prints must not be taken for an answer.
    with os.fdopen(os.dup(target.fileno()), "wb") as answers:
        os.dup2(sys.stderr.fileno(), target.fileno())
        while (data := _next_object(source)) is not None:
            _limit_time(cpu_s)
            _answer(answers, *_decoded(data))


def _next_object(source: BinaryIO) -> bytes | None:
    head = source.read(OBJECT_HEAD.size)
    if len(head) < OBJECT_HEAD.size:
        return None
    (length,) = OBJECT_HEAD.unpack(head)
    data = source.read(length)
    return data if len(data) == length else None


def _limit_time(cpu_s: float) -> None:
    """Allow so many seconds of processor time from now on; the kernel counts whole seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(used.ru_utime + used.ru_stime + cpu_s)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _decoded(data: bytes) -> tuple[dict[str, Any], bytes]:
    # Imported under the limits.
    from worker.errors import RejectedImage

    try:
        from worker.dicom.picture import decode

        picture = decode(data)
        return {"shape": picture.grey8.shape, "facts": picture.facts.as_dict()}, picture.grey8.tobytes()
    except RejectedImage as rejected:
        return {"code": rejected.code, "detail": rejected.detail}, b""
    except MemoryError:
        return {"code": "dicom_needs_memory", "detail": {}}, b""
    except OSError as fault:
        return {"fault": str(fault.strerror)}, b""


def _answer(target: BinaryIO, document: dict[str, Any], values: bytes) -> None:
    text = json.dumps(document).encode()
    target.write(ANSWER_HEAD.pack(len(text)) + text)
    target.write(values)
    target.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main(int(sys.argv[1]), float(sys.argv[2]))
