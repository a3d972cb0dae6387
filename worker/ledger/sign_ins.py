"""Sessions of browsers, and links that sign a person in once.

Each has a random key of 256 bits. The ledger holds the key's SHA-256: whoever reads the database cannot sign in with it.
A key of 256 random bits cannot be found by guessing, so the hash needs neither salt nor a slow function.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session, joinedload

from worker.ledger import actors, audit, tokens, users
from worker.ledger.roles import Role, roles_of
from worker.ledger.tables import BrowserSession, SignInLink, User
from worker.ledger.users import UserRefused
from worker.session_limits import SessionLimits

LINK_VALID = timedelta(days=1)
_KEY_BYTES = 32
_LONGEST_ADDRESS, _LONGEST_BROWSER = 45, 200
# Whether a session is in use is written at most this often.
_SEEN_EVERY = timedelta(minutes=1)


class Method(StrEnum):
    """How a person signed in."""

    LINK = "link"
    PASSPHRASE = "passphrase"  # noqa: S105 - a word
    PROVIDER = "provider"
    # A passphrase and then a code.
    TOTP = "totp"
    RECOVERY_CODE = "recovery_code"
    PASSKEY = "passkey"


class Failure(StrEnum):
    """Why somebody could not sign in. The page says the same for each."""

    UNKNOWN_NAME = "unknown_name"
    NO_PASSPHRASE = "no_passphrase"  # noqa: S105 - words
    WRONG_PASSPHRASE = "wrong_passphrase"  # noqa: S105
    DISABLED = "disabled"
    WRONG_CODE = "wrong_code"
    WRONG_LINK = "wrong_link"
    WRONG_PRESENT_PASSPHRASE = "wrong_present_passphrase"  # noqa: S105 - words
    WRONG_PASSKEY = "wrong_passkey"


# Ways to sign in that need no second factor.
SINGLE_FACTOR = frozenset({Method.LINK, Method.PASSPHRASE})


def start(
    session: Session, user: User, method: Method, *, address: str, browser: str, at: datetime
) -> tuple[BrowserSession, str]:
    """Start a session of a browser. Return it and its key, which is not kept.

    Args:
        session: of a transaction.
        user: the person who signed in.
        method: how they did.
        address: network address of the browser.
        browser: what the browser says it is (`User-Agent`).
        at: the present time.
    """
    key = secrets.token_urlsafe(_KEY_BYTES)
    audit.lock(session)
    started = BrowserSession(
        key_sha256=audit.digest(key),
        user_id=user.id,
        method=method,
        address=address[:_LONGEST_ADDRESS],
        browser=_printable(browser)[:_LONGEST_BROWSER],
        started_at=at,
        seen_at=at,
    )
    session.add(started)
    session.flush()
    _record(session, "signed_in", started, actors.user(user.id), at, method=method.value)
    return started, key


def record_failure(session: Session, user: User | None, method: Method, reason: str, at: datetime) -> None:
    """Record that somebody could not sign in; `reason` is a word of ours. Of an unknown name, nothing is recorded."""
    subject = f"user:{user.id}" if user is not None else actors.ANONYMOUS
    details = {"method": method.value, "reason": reason}
    audit.append(session, [audit.Event("sign_in_failed", actors.ANONYMOUS, subject, details)], at)


def find(session: Session, key: str, limits: SessionLimits, at: datetime) -> BrowserSession | None:
    """Return the session with this key and its person; None if it has ended or the person is disabled."""
    chosen = select(BrowserSession).where(BrowserSession.key_sha256 == audit.digest(key))
    found = session.scalars(chosen.options(joinedload(BrowserSession.user, innerjoin=True))).one_or_none()
    return found if found is not None and _is_valid(found, limits, at) else None


def must_be_marked(browser: BrowserSession, at: datetime) -> bool:
    """Return whether `mark_seen` has something to write."""
    return at >= browser.seen_at + _SEEN_EVERY


def strengthen(session: Session, session_id: int, method: Method) -> None:
    """Record that a person has shown a second factor in a session that began with one factor."""
    session.execute(update(BrowserSession).where(BrowserSession.id == session_id).values(method=method))


def mark_seen(session: Session, session_id: int, at: datetime) -> None:
    """Record that a session is in use."""
    session.execute(update(BrowserSession).where(BrowserSession.id == session_id).values(seen_at=at))


def of_user(session: Session, user: User, limits: SessionLimits, at: datetime) -> list[BrowserSession]:
    """Return the valid sessions of a person, the one that was used last first."""
    newest_first = _open_sessions(user.id).order_by(BrowserSession.seen_at.desc(), BrowserSession.id.desc())
    return [row for row in session.scalars(newest_first) if _is_valid(row, limits, at)]


def end(
    session: Session, session_id: int, limits: SessionLimits, *, user_id: int, actor: str, at: datetime
) -> bool:
    """End one session of a person. Return whether it was valid."""
    audit.lock(session)
    chosen = _open_sessions(user_id).where(BrowserSession.id == session_id)
    return _end(session, list(session.scalars(chosen)), limits, actor, at) > 0


def end_all(
    session: Session, user: User, limits: SessionLimits, *, actor: str, at: datetime, but: int | None = None
) -> int:
    """End all sessions and links of a person, but one session. Return how many sessions were valid."""
    audit.lock(session)
    _use_up_links(session, user, at)
    chosen = _open_sessions(user.id)
    if but is not None:
        chosen = chosen.where(BrowserSession.id != but)
    return _end(session, list(session.scalars(chosen.order_by(BrowserSession.id))), limits, actor, at)


def keep_out(session: Session, user: User, limits: SessionLimits, *, actor: str, at: datetime) -> None:
    """Disable a person, and end their sessions, links and tokens. Raises UserRefused: see `users.disable`."""
    users.disable(session, user, actor=actor, at=at)
    end_all(session, user, limits, actor=actor, at=at)
    tokens.revoke_all(session, user.id, actor=actor, at=at)


def make_link(session: Session, user: User, *, actor: str, at: datetime) -> str:
    """Return the key of a new link for a person. Earlier links of theirs lose their use.

    Raises UserRefused: the person is disabled.
    """
    if user.disabled_at is not None:
        raise UserRefused("this person is disabled; enable them first")
    key = secrets.token_urlsafe(_KEY_BYTES)
    audit.lock(session)
    _use_up_links(session, user, at)
    link = SignInLink(key_sha256=audit.digest(key), user_id=user.id, made_at=at, valid_until=at + LINK_VALID)
    session.add(link)
    session.flush()
    event = audit.Event("sign_in_link_made", actor, f"user:{user.id}", {"link": link.id})
    audit.append(session, [event], at)
    return key


def find_link(session: Session, key: str, at: datetime, *, lock: bool = False) -> SignInLink | None:
    """Return the link with this key; None if it was used, is too old, or its person is disabled."""
    chosen = select(SignInLink).where(
        SignInLink.key_sha256 == audit.digest(key), SignInLink.used_at.is_(None)
    )
    if lock:
        audit.lock(session)
    link = session.scalars(chosen.options(joinedload(SignInLink.user, innerjoin=True))).one_or_none()
    usable = link is not None and at < link.valid_until and link.user.disabled_at is None
    return link if usable else None


def _open_sessions(user_id: int) -> Select[BrowserSession]:
    return select(BrowserSession).where(BrowserSession.user_id == user_id, BrowserSession.ended_at.is_(None))


def _use_up_links(session: Session, user: User, at: datetime) -> None:
    unused = update(SignInLink).where(SignInLink.user_id == user.id, SignInLink.used_at.is_(None))
    session.execute(unused.values(used_at=at))


def _is_valid(browser: BrowserSession, limits: SessionLimits, at: datetime) -> bool:
    return browser.ended_at is None and browser.user.disabled_at is None and _is_in_time(browser, limits, at)


def _is_in_time(browser: BrowserSession, limits: SessionLimits, at: datetime) -> bool:
    """Return whether a session has not run out."""
    is_administrator = Role.ADMINISTRATOR in roles_of(browser.user.roles)
    of_person = limits.administrators if is_administrator else limits.everybody
    return of_person.are_met(browser.started_at, browser.seen_at, at)


def _end(
    session: Session, browsers: Collection[BrowserSession], limits: SessionLimits, actor: str, at: datetime
) -> int:
    """End sessions. One that has run out had ended: it gets no event, but cannot become valid under longer limits."""
    valid = [browser for browser in browsers if _is_in_time(browser, limits, at)]
    for browser in browsers:
        browser.ended_at = at
    for browser in valid:
        kind = "signed_out" if actor == actors.user(browser.user_id) else "session_ended"
        _record(session, kind, browser, actor, at)
    return len(valid)


def _record(
    session: Session, kind: str, browser: BrowserSession, actor: str, at: datetime, **details: str
) -> None:
    session.flush()
    event = audit.Event(kind, actor, f"user:{browser.user_id}", {"session": browser.id, **details})
    audit.append(session, [event], at)


def _printable(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable())
