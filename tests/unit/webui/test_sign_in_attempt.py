"""The cookie of an attempt to sign in through the provider, and what is kept of the provider's documents."""

from __future__ import annotations

import threading
import time
from itertools import count

import pytest

from webui.access.oidc.attempt import LIFETIME_S, new_attempt, opened, sealed
from webui.access.oidc.faults import Fault, SignInFailed
from webui.access.oidc.groups import roles
from webui.access.oidc.kept import Kept
from worker.config import Settings
from worker.ledger.roles import Role

KEY, OTHER_KEY = b"k" * 32, b"o" * 32


def test_attempt_comes_back_as_it_was() -> None:
    attempt = new_attempt("/images/7?from=queue")
    assert opened(sealed(attempt, [KEY]), [KEY]) == attempt


def test_cookie_shows_none_of_its_secrets() -> None:
    attempt = new_attempt("/review")
    cookie = sealed(attempt, [KEY])
    assert not any(secret in cookie for secret in (attempt.state, attempt.nonce, attempt.verifier))


def test_changed_cookie_holds_no_attempt() -> None:
    cookie = sealed(new_attempt("/review"), [KEY])
    middle = len(cookie) // 2
    changed = f"{cookie[:middle]}{'A' if cookie[middle] != 'A' else 'B'}{cookie[middle + 1 :]}"
    assert [opened(text, [KEY]) for text in (changed, cookie[:-40], "", "ü", "x" * 5000)] == [None] * 5


def test_cookie_of_another_key_holds_no_attempt() -> None:
    assert opened(sealed(new_attempt("/review"), [OTHER_KEY]), [KEY]) is None


def test_earlier_key_still_opens_a_cookie() -> None:
    attempt = new_attempt("/review")
    assert opened(sealed(attempt, [KEY]), [OTHER_KEY, KEY]) == attempt


def test_attempt_ends_after_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = new_attempt("/review")
    cookie = sealed(attempt, [KEY])
    now = time.time()
    monkeypatch.setattr("cryptography.fernet.time.time", lambda: now + LIFETIME_S - 5)
    assert opened(cookie, [KEY]) == attempt
    monkeypatch.setattr("cryptography.fernet.time.time", lambda: now + LIFETIME_S + 5)
    assert opened(cookie, [KEY]) is None


def settings(roles_of_groups: str) -> Settings:
    return Settings(
        oidc_issuer="https://id.hospital.example",
        oidc_client_id="nightread",
        oidc_client_secret="secret",
        oidc_roles=roles_of_groups,
    )


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ({"/readers"}, {Role.READER}),
        ({"/readers", "Chiefs = all", "others"}, {Role.READER, Role.ADJUDICATOR, Role.AUDITOR}),
        ({"/Readers", "readers", "/readers "}, set()),
        (set(), set()),
    ],
)
def test_groups_give_exactly_the_mapped_roles(groups: set[str], expected: set[Role]) -> None:
    mapping = "/readers=reader, Chiefs = all=adjudicator,Chiefs = all = auditor,"
    assert roles(settings(mapping), groups) == expected


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_document_is_fetched_again_after_an_hour() -> None:
    clock, numbers = Clock(), count()
    kept = Kept(lambda: next(numbers), clock)
    assert [kept.get(), kept.get()] == [0, 0]
    clock.now += 3601
    assert kept.get() == 1


def test_document_is_not_renewed_twice_in_half_a_minute() -> None:
    clock, numbers = Clock(), count()
    kept = Kept(lambda: next(numbers), clock)
    assert [kept.get(), kept.renewed()] == [0, 0]
    clock.now += 31
    assert [kept.renewed(), kept.renewed()] == [1, 1]


def test_failed_fetch_is_tried_again_after_a_rest() -> None:
    clock, tries = Clock(), count()

    def fetch() -> str:
        if next(tries) == 0:
            raise SignInFailed(Fault.ANSWER)
        return "document"

    kept = Kept(fetch, clock)
    faults = []
    for _ in range(2):
        with pytest.raises(SignInFailed) as failed:
            kept.get()
        faults.append(failed.value.fault)
    assert faults == [Fault.ANSWER, Fault.AWAY]
    clock.now += 3
    assert kept.get() == "document"


def test_nobody_waits_long_for_another_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webui.access.oidc.kept._WAIT_FOR_ANOTHER_S", 0.01)
    begun, end = threading.Event(), threading.Event()

    def fetch() -> str:
        begun.set()
        end.wait()
        return "document"

    kept = Kept(fetch)
    first = threading.Thread(target=kept.get)
    first.start()
    begun.wait()
    with pytest.raises(SignInFailed) as failed:
        kept.get()
    end.set()
    first.join()
    assert failed.value.fault is Fault.AWAY
    assert kept.get() == "document"
