"""The list of breached passphrases."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from worker.passphrases import breached

STOLEN = ["seven brown cows sing", "Marmalade for Breakfast", "too short", "seven brown cows sing"]


@pytest.fixture
def _small_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list").write_bytes(breached.made_from(STOLEN))
    monkeypatch.setattr(breached, "LIST", tmp_path / "list")


@pytest.mark.usefixtures("_small_list")
@pytest.mark.parametrize(
    "passphrase",
    ["seven brown cows sing", "SEVEN BROWN COWS SING", "marmalade for breakfast", "ｓeven brown cows sing"],  # noqa: RUF001
)
def test_passphrase_of_the_list_is_breached(passphrase: str) -> None:
    assert breached.is_breached(passphrase)


@pytest.mark.usefixtures("_small_list")
@pytest.mark.parametrize("passphrase", ["", "too short", "seven brown cows sang", "\ud800" * 20])
def test_other_passphrase_is_not_breached(passphrase: str) -> None:
    assert not breached.is_breached(passphrase)


def test_list_that_ships_knows_common_passphrases_of_15_characters() -> None:
    known = ["passwordpassword", "1q2w3e4r5t6y7u8i9o0p", "starwarstheclonewars", "star wars the clone wars"]
    assert all(breached.is_breached(passphrase) for passphrase in known)
    assert not breached.is_breached("seven brown cows sing")


def test_list_that_ships_is_whole_and_sorted() -> None:
    content = breached.LIST.read_bytes()
    counts, entries = content[:65_536], content[65_536:]
    assert len(entries) == 2 * sum(counts) > 600_000
    starts = [0, *itertools.accumulate(2 * count for count in counts)]
    for number in range(0, 65_536, 64):
        bucket = entries[starts[number] : starts[number + 1]]
        pairs = [bucket[at : at + 2] for at in range(0, len(bucket), 2)]
        assert pairs == sorted(set(pairs))
