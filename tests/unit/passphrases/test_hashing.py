"""Hashes of passphrases."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import argon2
import pytest

from tests.conftest import wait_for
from worker.passphrases import hashing

PASSPHRASE = "seven brown cows sing"


@pytest.fixture(scope="module")
def stored() -> str:
    return hashing.hashed(PASSPHRASE)


def test_hash_matches_its_passphrase_only(stored: str) -> None:
    assert hashing.matches(stored, PASSPHRASE)
    for other in ("", "seven brown cows sinG", f"{PASSPHRASE} ", PASSPHRASE * 20, "\ud800"):
        assert not hashing.matches(stored, other)


def test_hashes_of_the_same_passphrase_differ(stored: str) -> None:
    assert PASSPHRASE not in stored
    assert stored != hashing.hashed(PASSPHRASE)


def test_hash_has_the_parameters_of_owasp(stored: str) -> None:
    parameters = argon2.extract_parameters(stored)
    assert (parameters.type, parameters.version) == (argon2.Type.ID, 19)
    assert (parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (19_456, 2, 1)
    assert parameters.salt_len >= 16
    assert parameters.hash_len >= 32


def test_forms_of_the_same_characters_match() -> None:
    stored = hashing.hashed("sechs müde Füchse")
    assert hashing.matches(stored, "sechs mu\u0308de Fu\u0308chse")
    assert not hashing.matches(stored, "sechs mude Fuchse")


@pytest.mark.parametrize("damaged", [None, "", "$argon2id$v=19$m=19456", "nothing"])
def test_without_a_hash_nothing_matches(damaged: str | None) -> None:
    assert not hashing.matches(damaged, PASSPHRASE)


def test_unknown_name_costs_as_much_as_a_known_one(stored: str, monkeypatch: pytest.MonkeyPatch) -> None:
    costs: list[argon2.Parameters] = []
    monkeypatch.setattr(
        hashing, "_HASHER", Recorder(lambda stored, _: costs.append(argon2.extract_parameters(stored)))
    )
    hashing.matches(stored, "wrong")
    hashing.matches(None, "wrong")
    hashing.matches(stored, "wrong" * 100)
    assert len(costs) == 3
    assert len(set(map(str, costs))) == 1


def test_hash_with_other_parameters_is_outdated(stored: str) -> None:
    older = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSPHRASE)
    assert hashing.matches(older, PASSPHRASE)
    assert hashing.outdated(older)
    assert not hashing.outdated(stored)


def test_two_hashes_are_computed_at_once_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    busy, most, arrived, go = 0, 0, threading.Semaphore(0), threading.Event()
    guard = threading.Lock()

    def compute(_stored: str, _passphrase: bytes) -> None:
        nonlocal busy, most
        with guard:
            busy += 1
            most = max(most, busy)
        arrived.release()
        go.wait()
        with guard:
            busy -= 1

    monkeypatch.setattr(hashing, "_HASHER", Recorder(compute))
    with ThreadPoolExecutor(8) as threads:
        computed = [threads.submit(hashing.matches, "stored", PASSPHRASE) for _ in range(2)]
        arrived.acquire()
        arrived.acquire()
        monkeypatch.setattr(hashing, "LONGEST_WAIT_S", 0.01)
        with pytest.raises(hashing.TooManyAtOnce):
            hashing.matches("stored", PASSPHRASE)
        monkeypatch.setattr(hashing, "LONGEST_WAIT_S", 300.0)
        waiting = [threads.submit(hashing.matches, "stored", PASSPHRASE) for _ in range(4)]
        wait_for(lambda: hashing._PLACES._value == 0, "four wait")
        with pytest.raises(hashing.TooManyAtOnce):
            hashing.matches("stored", PASSPHRASE)
        go.set()
        assert all(answer.result() for answer in (*computed, *waiting))
    assert most == hashing.AT_ONCE == 2


class Recorder:
    """Stands for the hasher."""

    def __init__(self, verify: object) -> None:
        self.verify = verify
