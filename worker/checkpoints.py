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
from collections.abc import Container, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import structlog
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
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from worker.errors import DatabaseAway, TransientFailure, WrongSettings
from worker.keyfile import create_key_file
from worker.ledger import actors, audit
from worker.ledger.session import Ledger, is_forbidden, utc_now
from worker.outages import DATABASE, OUTAGES

log = structlog.get_logger(__name__)

_KIND = "nightread-checkpoint-1"
# The event that names a checkpoint.
_EVENT, _SUBJECT = "checkpoint_signed", "checkpoints"


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
    """The result of `Checkpoints.check`.

    Attributes:
        checkpoints: number of lines in the file.
        bad_checkpoint: number of the first line that does not match the audit trail; None if there is none.
        missing_checkpoint: event of the first checkpoint that the audit trail names and the file lacks; None likewise.
        at_least: whether the audit trail has the event that somebody kept elsewhere; None if none was given.
    """

    checkpoints: int
    bad_checkpoint: int | None
    missing_checkpoint: int | None = None
    at_least: bool | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.bad_checkpoint is None and self.missing_checkpoint is None and self.at_least is not False


class Checkpoints:
    """A file of checkpoints, one a line, and the key pair that signs them."""

    def __init__(self, file: Path, key: Path, public: Path | None = None) -> None:
        """Use `file` and the private key `key`. The first `take` creates a missing key, and `.pub` beside it.

        `check` uses the public key `public`, by default the one beside `key`.
        """
        self._file, self._key = file, key
        self._public_path = public or key.with_suffix(".pub")

    def take(self, ledger: Ledger) -> Checkpoint | None:
        """Append a checkpoint, fsync the file, and append an event that names the checkpoint.

        A role that may only read the database signs, too; then no event names the checkpoint.

        Returns:
            The checkpoint; None if there is no new event since the last one.

        Raises:
            TransientFailure: the file or the key cannot be used, or the database is out of reach.
        """
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("ab", buffering=0) as file:
                # One process at a time, so that the numbers of the events increase from line to line.
                fcntl.flock(file, fcntl.LOCK_EX)
                self._cut_unfinished(file)
                with ledger.reading() as session:
                    seq, head = audit.head(session)
                    named = audit.kind_of(session, seq) == _EVENT
                last = max((line.seq for _, line in self._lines() if line is not None), default=0)
                # The event that names the last checkpoint is nothing new.
                if seq == last or (named and seq == last + 1):
                    return None
                checkpoint = self._sign(seq, head)
                _append(file, f"{json.dumps(asdict(checkpoint))}\n".encode())
                self._name(ledger, checkpoint)
        except OSError as error:
            raise TransientFailure(f"a checkpoint of the audit trail cannot be written: {error}") from error
        return checkpoint

    def check(self, ledger: Ledger, at_least: tuple[int, str] | None = None) -> CheckpointResult:
        """Compare every checkpoint with the audit trail.

        Args:
            ledger: the ledger.
            at_least: number and hash of an event that the audit trail must have, kept where nobody who can change
                the ledger can write.

        Raises:
            WrongSettings: there are checkpoints but no valid public key.
        """
        # Read before the audit trail, because a newer checkpoint would name an event that the snapshot lacks.
        lines = list(self._lines())
        with ledger.reading() as session:
            return CheckpointResult(
                len(lines),
                self._first_bad(session, lines),
                _first_missing(session, {line.seq for _, line in lines if line is not None}),
                None if at_least is None else audit.hash_of(session, at_least[0]) == at_least[1],
            )

    def _first_bad(self, session: Session, lines: Sequence[tuple[int, Checkpoint | None]]) -> int | None:
        public, last = self._public() if lines else None, 0
        for number, checkpoint in lines:
            if (
                checkpoint is None
                or public is None
                or checkpoint.seq <= last
                or not _is_signed_by(public, checkpoint)
                or audit.hash_of(session, checkpoint.seq) != checkpoint.hash
            ):
                return number
            last = checkpoint.seq
        return None

    def _name(self, ledger: Ledger, checkpoint: Checkpoint) -> None:
        """Append an event that names a checkpoint, so that a missing file is noticed."""
        details = {"seq": checkpoint.seq, "key_sha256": audit.digest_bytes(self._public_path.read_bytes())}
        try:
            with ledger.transaction() as session:
                audit.append(session, [audit.Event(_EVENT, actors.PROGRAM, _SUBJECT, details)])
        except DatabaseAway as failure:
            OUTAGES.failed(DATABASE, failure)
        except (TransientFailure, DBAPIError) as error:
            if is_forbidden(error):
                # Such a role can never name a checkpoint, so an hourly warning would be noise.
                log.info(
                    "this role may only read: no event names the checkpoint", event_number=checkpoint.seq
                )
            else:
                log.warning(
                    "no event names the new checkpoint", event_number=checkpoint.seq, error=str(error)
                )

    def _lines(self) -> Iterator[tuple[int, Checkpoint | None]]:
        """Yield the number of each line, from 1, and its checkpoint; None if the line is not valid."""
        if not self._file.exists():
            return
        for number, line in enumerate(self._file.read_bytes().splitlines(), 1):
            try:
                fields = json.loads(line)
                yield (
                    number,
                    Checkpoint(int(fields["seq"]), fields["hash"], fields["at"], fields["signature"]),
                )
            except (ValueError, KeyError, TypeError):
                yield number, None

    def _cut_unfinished(self, file: BinaryIO) -> None:
        """Cut a last line that was never finished, because the power failed. No event of the audit trail names it."""
        content = self._file.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            log.warning("cut an unfinished line off the checkpoints", bytes=len(content) - whole)
            os.ftruncate(file.fileno(), whole)

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

    def _make_key(self) -> None:
        key = Ed25519PrivateKey.generate()
        create_key_file(self._key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _first_missing(session: Session, present: Container[int]) -> int | None:
    """Return the event of the first checkpoint that the audit trail names and that is not present."""
    for payload in audit.payloads(session, _SUBJECT, _EVENT):
        seq = payload.get("seq")
        if isinstance(seq, int) and seq not in present:
            return seq
    return None


def _append(file: BinaryIO, line: bytes) -> None:
    """Append a line, and fsync the file. Raises OSError; then the file is as it was."""
    size, rest = os.fstat(file.fileno()).st_size, line
    try:
        while rest:
            # What a nearly full disk has room for; then it raises.
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    except OSError:
        os.ftruncate(file.fileno(), size)
        raise


def _message(seq: int, head: str, at: str) -> bytes:
    return f"{_KIND}\n{seq}\n{head}\n{at}".encode()


def _is_signed_by(public: Ed25519PublicKey, checkpoint: Checkpoint) -> bool:
    try:
        public.verify(base64.b64decode(checkpoint.signature, validate=True), checkpoint.message)
    except (InvalidSignature, ValueError):
        return False
    return True
