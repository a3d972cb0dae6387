"""worker.exposure: what must be true before other machines may reach the web interface."""

from __future__ import annotations

from contextlib import nullcontext, suppress

import pytest

from worker.config import Settings
from worker.errors import WrongSettings
from worker.exposure import check_administrator, check_receiver, check_settings
from worker.ledger import actors, passphrases, users
from worker.ledger.roles import Role
from worker.ledger.session import Ledger, ledger_time
from worker.ledger.tables import User

NAMES, TLS = "Set NIGHTREAD_ALLOWED_HOSTS", "Put a proxy with TLS in front"
TITLES, SENDERS = "Set NIGHTREAD_DICOM_CALLING", "Set NIGHTREAD_DICOM_ADDRESSES"


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({}, set()),
        ({"host": "::1"}, set()),
        ({"host": "192.0.2.7"}, {NAMES, TLS}),
        ({"host": "192.0.2.7", "allowed_hosts": " , "}, {NAMES, TLS}),
        ({"host": "::", "allowed_hosts": "page"}, {TLS}),
        ({"host": "::", "proxy_hops": 1}, {NAMES}),
        ({"host": "::", "allow_plain_http": True}, {NAMES}),
        ({"host": "::", "allowed_hosts": "page", "proxy_hops": 1}, set()),
        ({"host": "::", "allowed_hosts": "page", "allow_plain_http": True}, set()),
    ],
)
def test_address_that_others_reach_needs_names_and_tls(
    settings: dict[str, object], missing: set[str]
) -> None:
    with pytest.raises(WrongSettings) if missing else nullcontext() as refusal:
        check_settings(Settings(**settings))  # type: ignore[arg-type]
    if refusal is not None:
        assert {part for part in (NAMES, TLS) if part in str(refusal.value)} == missing
        assert str(refusal.value).startswith("NIGHTREAD_HOST: other machines can reach the address")


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({}, set()),
        ({"dicom_host": "::1"}, set()),
        ({"dicom_host": "0.0.0.0"}, {TITLES, SENDERS}),  # noqa: S104 - refused
        ({"dicom_host": "::", "dicom_calling": " , "}, {TITLES, SENDERS}),
        ({"dicom_host": "192.0.2.7", "dicom_calling": "CT_1"}, {SENDERS}),
        ({"dicom_host": "receiver.example", "dicom_addresses": "192.0.2.0/24"}, {TITLES}),
        ({"dicom_host": "::", "dicom_calling": "CT_1", "dicom_addresses": "192.0.2.0/24"}, set()),
    ],
)
def test_receiver_that_others_reach_needs_lists_of_senders(
    settings: dict[str, object], missing: set[str]
) -> None:
    with pytest.raises(WrongSettings) if missing else nullcontext() as refusal:
        check_receiver(Settings(**settings))  # type: ignore[arg-type]
    if refusal is not None:
        assert {part for part in (TITLES, SENDERS) if part in str(refusal.value)} == missing
        assert str(refusal.value).startswith("NIGHTREAD_DICOM_HOST: other machines can reach the address")


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.7"])
def test_address_that_others_reach_needs_an_administrator_who_can_sign_in(ledger: Ledger, host: str) -> None:
    settings = Settings(host=host)

    def is_refused() -> bool:
        with suppress(WrongSettings):
            check_administrator(settings, ledger)
            return False
        return True

    remote = host != "127.0.0.1"
    assert is_refused() is remote
    with ledger.transaction() as session:
        at = ledger_time(session)
        ada = users.add(session, "Ada", {Role.ADMINISTRATOR}, actor=actors.PROGRAM, at=at)
        ben = users.add(session, "Ben", {Role.READER}, actor=actors.PROGRAM, at=at)
        eve = users.add(session, "Eve", {Role.ADMINISTRATOR}, actor=actors.PROGRAM, at=at)
        passphrases.set_hash(session, ben, "of Ben", actor=actors.PROGRAM, at=at)
        passphrases.set_hash(session, eve, "of Eve", actor=actors.PROGRAM, at=at)
        users.disable(session, eve, actor=actors.PROGRAM, at=at)
    assert is_refused() is remote
    with ledger.transaction() as session:
        passphrases.set_hash(session, session.get_one(User, ada.id), "of Ada", actor=actors.PROGRAM, at=at)
    assert not is_refused()
