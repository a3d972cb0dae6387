"""Which passphrases are refused, and why."""

from __future__ import annotations

import secrets
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.passphrases import rules
from worker.passphrases.rules import refusal
from worker.passphrases.text import LONGEST, SHORTEST


@pytest.mark.parametrize(
    "passphrase",
    [
        "seven brown cows sing",
        "k3v9-w2xq-88mz-p7",
        "sechs müde Füchse am Ofen",
        "七匹の眠い狐が夜中に窓辺で歌を歌う",
        "Ursula likes nightread films",
        "ends with a space or two  ",
        "velvet otter marmalade " * 2 + "x" * 18,
    ],
)
def test_passphrase_of_own_words_is_allowed(passphrase: str) -> None:
    assert refusal(passphrase, name="Ursula Meier") is None


@pytest.mark.parametrize(
    ("passphrase", "sentence"),
    [
        ("", rules.TOO_SHORT),
        ("fourteen chars", rules.TOO_SHORT),
        ("a\u0308" * 14, rules.TOO_SHORT),
        ("seven brown cows " * 12, rules.TOO_LONG),
        ("\ufdfa" * 20, rules.TOO_LONG),
        ("seven brown cows\ud800", rules.NO_TEXT),
        ("Correct Horse Battery Staple", rules.BREACHED),
        ("correcthorsebatterystaple", rules.BREACHED),
        ("PASSWORDPASSWORD", rules.BREACHED),
        ("zzzzzzzzzzzzzzzzzzzzzzzzzzzzz", rules.REPETITION),
        ("marmalade marmalade", rules.REPETITION),
        ("marmalade-marmalade_Marmalade", rules.REPETITION),
        ("ab cd ab cd ab cd ab cd", rules.REPETITION),
        ("zyxwvutsrqponmlk-9876543210", rules.NEIGHBOURS),
        ("asdfghjkl qwertzuiop 23456", rules.NEIGHBOURS),
        ("yhn7ujm8ik9ol0p 4567890", rules.NEIGHBOURS),
        ("Nightread Hospital 2026", rules.CONTEXT),
        ("nightread-nightread!", rules.REPETITION),
        ("Ursula Meier Radiology 2026", rules.CONTEXT),
        ("meierursula-xray-chest", rules.CONTEXT),
        ("UrsulaMeierPassphrase1", rules.CONTEXT),
    ],
)  # fmt: skip
def test_refused_passphrase_has_the_sentence_of_its_reason(passphrase: str, sentence: str) -> None:
    assert refusal(passphrase, name="Ursula Meier") == sentence


def test_name_of_another_person_is_allowed() -> None:
    assert refusal("Alexandrina Koslowski", name="Ursula Meier") is None
    assert refusal("Alexandrina Koslowski", name="Koslowski, Alexandrina") == rules.CONTEXT


def test_lengths_at_the_limits_are_allowed() -> None:
    letters = "".join(secrets.choice(string.ascii_letters) for _ in range(LONGEST))
    assert refusal(letters, name="") is None
    assert refusal("wolf otter crow", name="") is None
    assert len("wolf otter crow") == SHORTEST
    assert refusal(letters + "x", name="") == rules.TOO_LONG


def test_random_passphrases_of_a_password_manager_are_allowed() -> None:
    characters = string.ascii_letters + string.digits + string.punctuation
    made = ["".join(secrets.choice(characters) for _ in range(SHORTEST + 1)) for _ in range(50)]
    # One in 13,000 may be taken for a breached one.
    assert sum(refusal(passphrase, name="Ursula Meier") is not None for passphrase in made) <= 1


@settings(max_examples=50)
@given(st.text(max_size=LONGEST + 5), st.text(max_size=30))
def test_any_text_has_an_answer(passphrase: str, name: str) -> None:
    answer = refusal(passphrase, name=name)
    assert answer is None or answer.endswith(".")
