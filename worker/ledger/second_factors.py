"""Second factors: codes of an authenticator app (TOTP, RFC 6238), recovery codes, and passkeys (WebAuthn).

Rows are never deleted: a factor that was removed has `removed_at`, and its secret is gone. The audit trail holds hashes of
the secret and of the public key, so that nobody who writes to the database can exchange them unnoticed.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from datetime import datetime

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from worker.ledger import audit
from worker.ledger.seals import new_salt, seal
from worker.ledger.tables import Passkey, RecoveryCode, Totp, User
from worker.ledger.users import UserRefused, checked_name

RECOVERY_CODES = 10
# 128 random bits: a hash of them needs neither salt nor a slow function.
_CODE_BYTES = 16


def has_any(session: Session, user_id: int) -> bool:
    """Return whether a person has an authenticator app or a passkey."""
    app = exists().where(Totp.user_id == user_id, Totp.removed_at.is_(None))
    passkey = exists().where(Passkey.user_id == user_id, Passkey.removed_at.is_(None))
    return bool(session.scalar(select(or_(app, passkey))))


def totp_of(session: Session, user_id: int) -> Totp | None:
    """Return a person's authenticator app; None if they have none."""
    chosen = select(Totp).where(Totp.user_id == user_id, Totp.removed_at.is_(None))
    return session.scalars(chosen.order_by(Totp.id.desc()).limit(1)).one_or_none()


def add_totp(session: Session, user: User, secret: str, step: int, *, actor: str, at: datetime) -> list[str]:
    """Give a person an authenticator app in place of the present one, and return new recovery codes.

    Args:
        session: of a transaction.
        user: the person.
        secret: the encrypted secret.
        step: the step of the code that showed that the app works. Neither it nor an earlier one is accepted again.
        actor: who does it.
        at: the present time.
    """
    audit.lock(session)
    remove_totp(session, user, actor=actor, at=at)
    app = Totp(user_id=user.id, secret=secret, last_step=step, added_at=at)
    session.add(app)
    session.flush()
    details = {"user": user.id, "secret_sha256": audit.digest(secret)}
    audit.append(session, [audit.Event("totp_added", actor, f"totp:{app.id}", details)], at)
    codes = [_new_code() for _ in range(RECOVERY_CODES)]
    session.add_all(RecoveryCode(totp_id=app.id, code_sha256=_code_hash(code)) for code in codes)
    return codes


def accept_step(session: Session, app: Totp, step: int) -> bool:
    """Return whether the code of a step is newer than all that were accepted. Each code is accepted once."""
    audit.lock(session)
    session.refresh(app)
    if app.removed_at is not None or step <= app.last_step:
        return False
    app.last_step = step
    return True


def use_recovery_code(session: Session, app: Totp, typed: str, *, actor: str, at: datetime) -> bool:
    """Return whether this is a recovery code that was not used before, and use it up."""
    audit.lock(session)
    unused = select(RecoveryCode).where(RecoveryCode.totp_id == app.id, RecoveryCode.used_at.is_(None))
    code = session.scalars(unused.where(RecoveryCode.code_sha256 == _code_hash(typed))).one_or_none()
    if code is None:
        return False
    code.used_at = at
    session.flush()
    audit.append(session, [audit.Event("recovery_code_used", actor, f"user:{app.user_id}", {})], at)
    return True


def unused_codes(session: Session, app: Totp) -> int:
    """Return the number of recovery codes that are left."""
    chosen = select(RecoveryCode.id).where(RecoveryCode.totp_id == app.id, RecoveryCode.used_at.is_(None))
    return len(session.scalars(chosen).all())


def remove_totp(session: Session, user: User, *, actor: str, at: datetime) -> None:
    """Take a person's authenticator app and its recovery codes away, if there is one."""
    audit.lock(session)
    app = totp_of(session, user.id)
    if app is not None:
        app.removed_at, app.secret = at, None
        session.flush()
        audit.append(session, [audit.Event("totp_removed", actor, f"totp:{app.id}", {})], at)


def passkeys_of(session: Session, user_id: int) -> list[Passkey]:
    """Return a person's passkeys, the oldest first."""
    chosen = select(Passkey).where(Passkey.user_id == user_id, Passkey.removed_at.is_(None))
    return list(session.scalars(chosen.order_by(Passkey.id)))


def find_passkey(session: Session, credential_id: str, *, lock: bool = False) -> Passkey | None:
    """Return the passkey with this credential id; None if there is none or it was removed."""
    if lock:
        audit.lock(session)
    chosen = select(Passkey).where(Passkey.credential_id == credential_id, Passkey.removed_at.is_(None))
    return session.scalars(chosen).one_or_none()


def add_passkey(
    session: Session,
    user: User,
    *,
    name: str,
    credential_id: str,
    public_key: bytes,
    sign_count: int,
    actor: str,
    at: datetime,
) -> Passkey:
    """Give a person a passkey under a name of their choice.

    Raises:
        UserRefused: the name is not valid, or the passkey was added before.
    """
    audit.lock(session)
    if session.scalar(select(exists().where(Passkey.credential_id == credential_id))):
        raise UserRefused("this passkey was added before; let your device make a new one")
    salt = new_salt()
    passkey = Passkey(
        user_id=user.id,
        name=checked_name(name),
        salt=salt,
        credential_id=credential_id,
        public_key=public_key,
        sign_count=sign_count,
        added_at=at,
    )
    session.add(passkey)
    session.flush()
    details = {
        "user": user.id,
        "name_seal": seal(salt, passkey.name),
        "credential_id": credential_id,
        "public_key_sha256": audit.digest_bytes(public_key),
    }
    audit.append(session, [audit.Event("passkey_added", actor, f"passkey:{passkey.id}", details)], at)
    return passkey


def remove_passkey(session: Session, passkey: Passkey, *, actor: str, at: datetime) -> None:
    """Take a passkey away."""
    audit.lock(session)
    passkey.removed_at = at
    session.flush()
    audit.append(session, [audit.Event("passkey_removed", actor, f"passkey:{passkey.id}", {})], at)


def remove_all(session: Session, user: User, *, actor: str, at: datetime) -> None:
    """Take all second factors of a person away."""
    remove_totp(session, user, actor=actor, at=at)
    for passkey in passkeys_of(session, user.id):
        remove_passkey(session, passkey, actor=actor, at=at)


def _new_code() -> str:
    letters = base64.b32encode(secrets.token_bytes(_CODE_BYTES)).decode().rstrip("=").lower()
    return "-".join(letters[at : at + 4] for at in range(0, len(letters), 4))


def _code_hash(code: str) -> str:
    plain = "".join(letter for letter in code.lower() if letter.isalnum())
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()
