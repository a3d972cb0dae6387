"""Signing in with a name and a passphrase, and changing it. Whoever is refused learns nothing about a name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from flask import request
from sqlalchemy.orm import Session

from webui.access import devices, sign_in_limits
from webui.access.sign_in_limits import Try
from webui.dependencies import dependencies
from worker.ledger import passphrases, sign_ins, users
from worker.ledger.session import ledger_time
from worker.ledger.sign_ins import Failure, Method
from worker.ledger.tables import User
from worker.passphrases import hashing, rules
from worker.passphrases.text import folded

_WRONG = "This name and this passphrase do not belong together."
_OF_SERVICE = (
    "You sign in with your hospital account, so you can have no passphrase here. Nothing was changed."
)
_FACTORS_OF_SERVICE = (
    "You sign in through your hospital's sign-in service. It asks for a second factor, and not Nightread."
)
_BUSY = "Too many people sign in at this moment. Try again in a few seconds."
_BUSY_S = 5
_MINUTE_S = 60


class NotSignedIn(Exception):  # noqa: N818 - an outcome with a sentence
    """Nobody was signed in, or no passphrase was set.

    Attributes:
        sentence: for the person.
        status: of the HTTP response.
        wait_s: seconds after which the next try is allowed; 0: now.
    """

    def __init__(self, sentence: str, status: int, wait_s: int = 0) -> None:
        """Keep what the page shows."""
        super().__init__(sentence)
        self.sentence, self.status, self.wait_s = sentence, status, wait_s

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Headers of the HTTP response."""
        return [("Retry-After", str(self.wait_s))] if self.wait_s else []


@dataclass(frozen=True)
class Proof:
    """What a right passphrase proves: it was this person's when it was compared."""

    user_id: int
    passphrase_hash: str
    newer_hash: str | None


@dataclass(frozen=True)
class Change:
    """A new passphrase that is allowed, and the hash that it takes the place of; None: the person had none."""

    earlier_hash: str | None
    new_hash: str


def prove(name: str, passphrase: str) -> Proof:
    """Return the proof of who types this name and passphrase.

    Every answer takes one comparison, whether the name is known or not.

    Raises:
        NotSignedIn: they do not belong together, the person is disabled, or there were too many tries.
    """
    with dependencies().ledger.reading() as session:
        user = users.find_any_case(session, name)
    tried = _try(name, user)
    _check_limits(tried)
    stored = user.passphrase_hash if user is not None else None
    if not _matches(stored, passphrase) or user is None or stored is None or user.disabled_at is not None:
        _record_failure(user, _reason(user))
        raise NotSignedIn(_WRONG, 400)
    sign_in_limits.current().give_back(tried)
    newer = _hashed(passphrase) if hashing.outdated(stored) else None
    return Proof(user.id, stored, newer)


def person_of(session: Session, proof: Proof, at: datetime) -> User:
    """Return the person whom a proof names, in the transaction that signs them in.

    Raises:
        NotSignedIn: the person was disabled or got another passphrase in the meantime.
    """
    user = session.get_one(User, proof.user_id)
    if user.disabled_at is not None or user.passphrase_hash != proof.passphrase_hash:
        raise NotSignedIn(_WRONG, 400)
    if proof.newer_hash is not None:
        passphrases.renew_hash(session, user, proof.newer_hash, at=at)
    return user


def checked_change(user_id: int, present: str, new: str, again: str) -> Change:
    """Return what to store as a person's new passphrase.

    Raises:
        NotSignedIn: the person has an account of the hospital, the present passphrase is wrong, the new one is refused,
            or there were too many tries.
    """
    if new != again:
        raise NotSignedIn("The two new passphrases differ. Type the same one twice.", 400)
    with dependencies().ledger.reading() as session:
        user = session.get_one(User, user_id)
        if user_id in users.of_service(session):
            # With one, they could still come in after the hospital has closed their account.
            raise NotSignedIn(_OF_SERVICE, 409)
    _check_present(user, present)
    refusal = rules.refusal(new, name=user.name)
    if refusal is not None:
        raise NotSignedIn(refusal, 400)
    return Change(user.passphrase_hash, _hashed(new))


def confirm(user_id: int, present: str) -> None:
    """Let a person change their second factors.

    Raises:
        NotSignedIn: this is not their passphrase, or they sign in through the hospital's sign-in service.
    """
    with dependencies().ledger.reading() as session:
        user = session.get_one(User, user_id)
        if user_id in users.of_service(session):
            raise NotSignedIn(_FACTORS_OF_SERVICE, 409)
    _check_present(user, present)


def count_try(kind: str, account: str, user_id: int | None) -> Try:
    """Count a try at something that is not signing in with a passphrase. Raises NotSignedIn if there were too many.

    Args:
        kind: of the try. Each kind has counters of its own.
        account: what is tried.
        user_id: whose it is; None: nobody's. A browser that this person has used has limits of its own.
    """
    device = devices.device_of(user_id) if user_id is not None else None
    tried = Try(f"{kind}:{account}", request.remote_addr or "", f"{kind}:{device}" if device else None)
    _check_limits(tried)
    return tried


def give_back(tried: Try) -> None:
    """Forget tries after a success."""
    sign_in_limits.current().give_back(tried)


def _check_present(user: User, present: str) -> None:
    if user.passphrase_hash is None:
        return
    # Whoever found an open browser must not be able to try passphrases in it, nor to keep its owner from signing in.
    tried = Try(f"change:{user.id}", request.remote_addr or "", f"change:{user.id}")
    _check_limits(tried)
    if not _matches(user.passphrase_hash, present):
        _record_failure(user, Failure.WRONG_PRESENT_PASSPHRASE)
        raise NotSignedIn("Your present passphrase is another one. Nothing was changed.", 400)
    give_back(tried)


def _check_limits(tried: Try) -> None:
    """Count a try. Raises NotSignedIn if there were too many."""
    wait_s = sign_in_limits.current().take(tried)
    if wait_s:
        raise NotSignedIn(f"There were too many tries. Try again in {_in_words(wait_s)}.", 429, wait_s)


def _matches(stored: str | None, passphrase: str) -> bool:
    with _waiting_in_turn():
        return hashing.matches(stored, passphrase)


def _hashed(passphrase: str) -> str:
    with _waiting_in_turn():
        return hashing.hashed(passphrase)


@contextmanager
def _waiting_in_turn() -> Iterator[None]:
    try:
        yield
    except hashing.TooManyAtOnce:
        raise NotSignedIn(_BUSY, 503, _BUSY_S) from None


def _try(name: str, user: User | None) -> Try:
    address = request.remote_addr or ""
    if user is None:
        return Try(f"name:{folded(' '.join(name.split()))}", address)
    return Try(f"user:{user.id}", address, devices.device_of(user.id))


def _record_failure(user: User | None, reason: Failure) -> None:
    with dependencies().ledger.transaction() as session:
        sign_ins.record_failure(session, user, Method.PASSPHRASE, reason, ledger_time(session))


def _reason(user: User | None) -> Failure:
    if user is None:
        return Failure.UNKNOWN_NAME
    if user.disabled_at is not None:
        return Failure.DISABLED
    return Failure.NO_PASSPHRASE if user.passphrase_hash is None else Failure.WRONG_PASSPHRASE


def _in_words(wait_s: int) -> str:
    if wait_s <= _MINUTE_S:
        return f"{wait_s} {'second' if wait_s == 1 else 'seconds'}"
    return f"{-(-wait_s // _MINUTE_S)} minutes"
