"""The site key of this installation, and what is wrong with it.

The ledger remembers the fingerprint of the key that makes its patient keys. If the file is missing or holds another key,
images are accepted without a patient key, and people are told. Nothing replaces a lost key but a person.
"""

from __future__ import annotations

from pathlib import Path

from worker.config import Settings
from worker.dicom.patients import fingerprint
from worker.errors import TransientFailure
from worker.keyfile import secret_key
from worker.ledger import actors, site_keys
from worker.ledger.session import Ledger, ledger_time

_WHAT_IT_MEANS = (
    "New images get no patient key, so nobody finds the earlier images of their patients. Put the file back from its copy, "
    "or make a new key with `nightread db site-key --new`"
)


_LEAST_BYTES = 32


class SiteKeyLost(TransientFailure):
    """The site key cannot be used; the message says why, and what to do."""


class SiteKeys:
    """Makes the site key once, and reads it. Several threads and processes may do so at the same time."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        """Keep the settings and the ledger; nothing is read yet."""
        self.path = settings.site_key_path
        self._ledger = ledger
        self._key: bytes | None = None

    def key(self) -> bytes | None:
        """Return the site key, which is made at the first call of all; None if it is lost.

        A key that was read once serves as long as the process runs. Raises TransientFailure if the database failed.
        """
        try:
            return self.require()
        except SiteKeyLost:
            return None

    def require(self) -> bytes:
        """Return the site key like `key`. Raises SiteKeyLost."""
        if self._key is None:
            self._key = self._read_or_make()
        return self._key

    def check(self) -> None:
        """Raise SiteKeyLost, which people read as a problem, while the ledger's site key is not in its file."""
        known = self.known()
        if known is not None:
            self._read(known)

    def known(self) -> str | None:
        """Return the fingerprint of the key that the ledger expects; None if it has no patient key yet."""
        with self._ledger.reading() as session:
            return site_keys.in_force(session)

    def replace(self) -> None:
        """Make a new key in place of a lost one. Raises SiteKeyLost if a file is there that must not be overwritten."""
        known = self.known()
        if self.path.exists():
            raise SiteKeyLost(
                f"there is a file {self.path}. Move it away first: it may be the key that you need"
            )
        self._put_in_force(secret_key(self.path), instead_of=known, who=actors.operating_system_user())

    def _read_or_make(self) -> bytes:
        known = self.known()
        if known is not None:
            return self._read(known)
        try:
            key = secret_key(self.path)
        except OSError as error:
            raise SiteKeyLost(_sentence(self.path, f"cannot be made ({error.strerror})")) from error
        if len(key) < _LEAST_BYTES:
            raise SiteKeyLost(_sentence(self.path, "is too short"))
        self._put_in_force(key, instead_of=None, who=actors.PROGRAM)
        return key

    def _put_in_force(self, key: bytes, *, instead_of: str | None, who: str) -> None:
        with self._ledger.transaction() as session:
            at = ledger_time(session)
            mark = fingerprint(key)
            used = site_keys.put_in_force(session, mark, instead_of=instead_of, who=who, at=at)
        if not used:
            raise SiteKeyLost(_sentence(self.path, "holds another key than the ledger's"))

    def _read(self, known: str) -> bytes:
        try:
            key = self.path.read_bytes()
        except FileNotFoundError as error:
            raise SiteKeyLost(_sentence(self.path, "is missing")) from error
        except OSError as error:
            raise SiteKeyLost(_sentence(self.path, f"cannot be read ({error.strerror})")) from error
        if fingerprint(key) != known:
            # An empty file, too.
            raise SiteKeyLost(_sentence(self.path, "holds another key than the ledger's"))
        return key


def _sentence(path: Path, what: str) -> str:
    return f"the site key {path} {what}. {_WHAT_IT_MEANS}"
