"""Which site key makes the patient keys of this ledger. The ledger holds only fingerprints: see `worker.dicom.patients`."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.ledger import audit
from worker.ledger.tables import SiteKey


def in_force(session: Session) -> str | None:
    """Return the fingerprint of the site key that makes patient keys; None if none was ever used."""
    return session.scalar(select(SiteKey.fingerprint).order_by(SiteKey.id.desc()).limit(1))


def put_in_force(
    session: Session, fingerprint: str, *, instead_of: str | None, who: str, at: datetime
) -> bool:
    """Record that a site key makes patient keys from now on, unless another one than `instead_of` already does.

    Return whether it is in force now.
    """
    audit.lock(session)
    known = in_force(session)
    if known != instead_of:
        return known == fingerprint
    row = SiteKey(fingerprint=fingerprint, at=at)
    session.add(row)
    session.flush()
    audit.append(
        session, [audit.Event("site_key_made", who, f"site_key:{row.id}", {"fingerprint": fingerprint})], at
    )
    return True
