"""Signed checkpoints of the audit trail, in a file outside the database.

The chain shows what was changed in its middle. Whoever may write to the database could still cut off
its end, or make the whole of it anew; a checkpoint that lies elsewhere shows that too: it says which hash
the event of a number had, signed with Ed25519 (RFC 8032).
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
    """What the trail's last event was at a moment: its number, its hash, and who vouches for it.

    `at` is UTC in ISO 8601, `signature` base64.
    """

    seq: int
    hash: str
    at: str
    signature: str

    @property
    def signed(self) -> bytes:
        """What the signature is of."""
        return _signed(self.seq, self.hash, self.at)


@dataclass(frozen=True)
class CheckpointResult:
    """How many checkpoints there are, and the line of the first that the trail does not bear out."""

    checkpoints: int
    bad_checkpoint: int | None


class Checkpoints:
    """A file of checkpoints, a line each, and the key pair they are signed with."""

    def __init__(self, file: Path, key: Path) -> None:
        """Append to `file`; `key` is the private key, made when it is first needed, `.pub` beside it."""
        self._file, self._key = file, key

    def take(self, ledger: Ledger) -> Checkpoint | None:
        """Append a checkpoint, durably; None if nothing has happened since the last one.

        Raises TransientFailure when the file or the key cannot be used, or the database is away.
        """
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as file:
                # One at a time, so that no event is vouched for twice and none after a later one.
                fcntl.flock(file, fcntl.LOCK_EX)
                with ledger.reading() as session:
                    seq, head = audit.head(session)
                if seq == max((each.seq for _, each in self._lines() if each is not None), default=0):
                    return None
                checkpoint = self._signed(seq, head)
                file.write(f"{json.dumps(asdict(checkpoint))}\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise TransientFailure(f"a checkpoint of the trail cannot be written: {error}") from error
        return checkpoint

    def check(self, ledger: Ledger) -> CheckpointResult:
        """Compare every checkpoint with the trail as it is now.

        Raises WrongSettings when there are checkpoints and the public key is missing or no key.
        """
        # Read before the trail: what is vouched for meanwhile would not be in the snapshot.
        lines = list(self._lines())
        if not lines:
            return CheckpointResult(0, None)
        public, last = self._public(), 0
        with ledger.reading() as session:
            for number, each in lines:
                sound = each is not None and each.seq > last and _is_signed_by(public, each)
                if not (sound and each and audit.hash_of(session, each.seq) == each.hash):
                    return CheckpointResult(len(lines), number)
                last = each.seq
        return CheckpointResult(len(lines), None)

    def _lines(self) -> Iterator[tuple[int, Checkpoint | None]]:
        """Number, from 1, and what the line says; None if it is no checkpoint."""
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

    def _signed(self, seq: int, head: str) -> Checkpoint:
        at = utc_now().isoformat(timespec="seconds")
        signature = self._private().sign(_signed(seq, head, at))
        return Checkpoint(seq, head, at, base64.b64encode(signature).decode())

    def _private(self) -> Ed25519PrivateKey:
        if not self._key.exists():
            self._make_key()
        try:
            key = load_pem_private_key(self._key.read_bytes(), password=None)
        except ValueError:
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise TransientFailure(f"{self._key} is no private key of Ed25519")
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
            raise WrongSettings(f"{self._public_path}, the checkpoints' public key, is missing or no key.")
        return key

    @property
    def _public_path(self) -> Path:
        return self._key.with_suffix(".pub")

    def _make_key(self) -> None:
        key = Ed25519PrivateKey.generate()
        create_key_file(self._key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _signed(seq: int, head: str, at: str) -> bytes:
    return f"{_KIND}\n{seq}\n{head}\n{at}".encode()


def _is_signed_by(public: Ed25519PublicKey, checkpoint: Checkpoint) -> bool:
    try:
        public.verify(base64.b64decode(checkpoint.signature, validate=True), checkpoint.signed)
    except (InvalidSignature, ValueError):
        return False
    return True
