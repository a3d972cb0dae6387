"""The list of breached passphrases, `breached.bin` beside this module. `NOTICE` says where it comes from.

The file holds no passphrase, only 32 bits of the SHA-256 of each: first the number of entries in each of 65,536
buckets, one byte each, then the entries, two bytes each, sorted. The first 16 bits of the hash name the bucket, the next
16 bits are the entry. One in 13,000 passphrases that are not in the list is taken for one that is.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

from worker.passphrases.text import SHORTEST, folded

LIST = Path(__file__).with_name("breached.bin")
_BUCKETS = 65_536


def is_breached(passphrase: str) -> bool:
    """Return whether a passphrase is in the list, in upper or lower case, with or without its spaces."""
    entries = LIST.read_bytes()
    text = folded(passphrase)
    return any(_has(entries, _hash(form)) for form in {text, "".join(text.split())})


def made_from(passphrases: Iterable[str]) -> bytes:
    """Return the content of the file for these passphrases. Those that are too short anyway are left out."""
    kept = {folded(passphrase) for passphrase in passphrases}
    hashes = sorted({_hash(passphrase) for passphrase in kept if len(passphrase) >= SHORTEST})
    counts = bytearray(_BUCKETS)
    for digest in hashes:
        counts[int.from_bytes(digest[:2])] += 1
    return bytes(counts) + b"".join(digest[2:] for digest in hashes)


def _has(entries: bytes, digest: bytes) -> bool:
    bucket = int.from_bytes(digest[:2])
    start = _BUCKETS + 2 * sum(entries[:bucket])
    return any(entries[at : at + 2] == digest[2:] for at in range(start, start + 2 * entries[bucket], 2))


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4]


if __name__ == "__main__":
    LIST.write_bytes(made_from(line.decode("utf-8", "replace").rstrip("\r\n") for line in sys.stdin.buffer))
