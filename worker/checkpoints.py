"""Signed checkpoints of the audit trail, in a file outside the database.

The hash chain shows a change in its middle. Somebody who can write to the database could still delete the
last events, or build a new chain. A checkpoint shows that too: it is a line with the number and the hash of
an event, signed with Ed25519 (RFC 8032).
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from worker.errors import TransientFailure, WrongSettings
from worker.keyfile import create_key_file
from worker.ledger import audit
from worker.ledger.session import Ledger, utc_now

_KIND = "nightread-checkpoint-1"


@dataclass(frozen=True)
class Checkpoint:
    """The number and the hash of the last event at one moment, with a signature.

    `at` is UTC in ISO 8601, `signature` is base64.
    """

    seq: int
    hash: str
    at: str
    signature: str

    @property
    def message(self) -> bytes:
        """The bytes that the signature covers."""
        return _message(self.seq, self.hash, self.at)


@dataclass(frozen=True)
class CheckpointResult:
    """The number of checkpoints, and the line of the first one that does not match the audit trail."""

    checkpoints: int
    bad_checkpoint: int | None


class Checkpoints:
    """A file of checkpoints, one a line, and the key pair that signs them."""

    def __init__(self, file: Path, key: Path) -> None:
        """Use `file` and the private key `key`. The first `take` creates a missing key, and `.pub` beside it."""
        self._file, self._key = file, key

    def take(self, ledger: Ledger) -> Checkpoint | None:
        """Append a checkpoint, and fsync the file.

        Returns:
            The checkpoint; None if there is no new event since the last one.

        Raises:
            TransientFailure: the file or the key cannot be used, or the database is out of reach.
        """
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as file:
                # One process at a time, so that the numbers of the events increase from line to line.
                fcntl.flock(file, fcntl.LOCK_EX)
                with ledger.reading() as session:
                    seq, head = audit.head(session)
                if seq == max((line.seq for _, line in self._lines() if line is not None), default=0):
                    return None
                checkpoint = self._sign(seq, head)
                file.write(f"{json.dumps(asdict(checkpoint))}\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise TransientFailure(f"a checkpoint of the audit trail cannot be written: {error}") from error
        return checkpoint

    def check(self, ledger: Ledger) -> CheckpointResult:
        """Compare every checkpoint with the audit trail.

        Raises WrongSettings when there are checkpoints but no valid public key.
        """
        # Read before the audit trail, because a newer checkpoint would name an event that the snapshot lacks.
        lines = list(self._lines())
        if not lines:
            return CheckpointResult(0, None)
        public, last = self._public(), 0
        with ledger.reading() as session:
            for number, checkpoint in lines:
                if (
                    checkpoint is None
                    or checkpoint.seq <= last
                    or not _is_signed_by(public, checkpoint)
                    or audit.hash_of(session, checkpoint.seq) != checkpoint.hash
                ):
                    return CheckpointResult(len(lines), number)
                last = checkpoint.seq
        return CheckpointResult(len(lines), None)

    def _lines(self) -> Iterator[tuple[int, Checkpoint | None]]:
        """Yield the number of each line, from 1, and its checkpoint; None if the line is not valid."""
        if not self._file.exists():
            return
        for number, line in enumerate(self._file.read_text(encoding="utf-8").splitlines(), 1):
            try:
                fields = json.loads(line)
                yield (
                    number,
                    Checkpoint(int(fields["seq"]), fields["hash"], fields["at"], fields["signature"]),
                )
            except (ValueError, KeyError, TypeError):
                yield number, None

    def _sign(self, seq: int, head: str) -> Checkpoint:
        at = utc_now().isoformat(timespec="seconds")
        signature = self._private().sign(_message(seq, head, at))
        return Checkpoint(seq, head, at, base64.b64encode(signature).decode())

    def _private(self) -> Ed25519PrivateKey:
        if not self._key.exists():
            self._make_key()
        try:
            key = load_pem_private_key(self._key.read_bytes(), password=None)
        except ValueError:
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise TransientFailure(f"{self._key} is not an Ed25519 private key")
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        if not self._public_path.exists():
            self._public_path.write_bytes(public)
        return key

    def _public(self) -> Ed25519PublicKey:
        try:
            key = load_pem_public_key(self._public_path.read_bytes())
        except (OSError, ValueError):
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise WrongSettings(
                f"{self._public_path}, the public key of the checkpoints, is missing or not valid."
            )
        return key

    @property
    def _public_path(self) -> Path:
        return self._key.with_suffix(".pub")

    def _make_key(self) -> None:
        key = Ed25519PrivateKey.generate()
        create_key_file(self._key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _message(seq: int, head: str, at: str) -> bytes:
    return f"{_KIND}\n{seq}\n{head}\n{at}".encode()


def _is_signed_by(public: Ed25519PublicKey, checkpoint: Checkpoint) -> bool:
    try:
        public.verify(base64.b64decode(checkpoint.signature, validate=True), checkpoint.message)
    except (InvalidSignature, ValueError):
        return False
    return True
