"""Stores a passphrase as an Argon2id hash (RFC 9106), and compares one with such a hash.

Parameters: the least that the OWASP Password Storage Cheat Sheet asks of Argon2id, 19 MiB of memory, two passes and
one lane. After a change here, `outdated` names the stored hashes that should be made again.

At most two hashes are computed at once in a process, and at most four more wait, so that signing in takes neither all
memory nor all threads of the web server.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from worker.passphrases.text import LONGEST, normalised

AT_ONCE = 2
WAITING = 4
LONGEST_WAIT_S = 10.0

_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)
# What a passphrase is compared with where there is none, so that the answer takes as long. Nobody knows its passphrase.
_HASH_OF_NOBODY = (
    "$argon2id$v=19$m=19456,t=2,p=1$REyiG4fcsE478lX+zNxS4w$lClt+/NX7rM6Qo0rVcrKIsSQH6ZwlrAwqQujY1URru4"
)
_PLACES = BoundedSemaphore(AT_ONCE + WAITING)
_SLOTS = BoundedSemaphore(AT_ONCE)


class TooManyAtOnce(Exception):  # noqa: N818 - an outcome that passes
    """No hash could be computed now: too many others waited, or the wait took `LONGEST_WAIT_S` seconds."""


def hashed(passphrase: str) -> str:
    """Return the hash of a passphrase that the rules allow, with its salt and parameters. Raises TooManyAtOnce."""
    with _slot():
        return _HASHER.hash(_bytes(passphrase))


def matches(stored: str | None, passphrase: str) -> bool:
    """Return whether a hash was made of this passphrase.

    None, for a name that is unknown or has no passphrase, matches none and takes as long. Raises TooManyAtOnce.
    """
    chosen = stored if stored is not None and len(passphrase) <= LONGEST else _HASH_OF_NOBODY
    with _slot():
        try:
            _HASHER.verify(chosen, _bytes(passphrase[:LONGEST]))
        except (VerificationError, InvalidHashError):
            return False
    return chosen is stored


def outdated(stored: str) -> bool:
    """Return whether a hash was made with other parameters than those of this version."""
    return _HASHER.check_needs_rehash(stored)


def _bytes(passphrase: str) -> bytes:
    return normalised(passphrase).encode("utf-8", "surrogatepass")


@contextmanager
def _slot() -> Iterator[None]:
    with _acquired(_PLACES, 0.0), _acquired(_SLOTS, LONGEST_WAIT_S):
        yield


@contextmanager
def _acquired(places: BoundedSemaphore, timeout_s: float) -> Iterator[None]:
    if not places.acquire(timeout=timeout_s):
        raise TooManyAtOnce
    try:
        yield
    finally:
        places.release()
