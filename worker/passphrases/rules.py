"""Which passphrases are refused. NIST SP 800-63B and OWASP ASVS 5.0, section 6.2, are the source of the rules.

A passphrase has 15 to 200 characters of any kind, and never expires. It is refused if it is in a list of breached
passphrases, or if fewer than ten characters are left of it without repetition, without neighbouring keys, and without
words that an attacker tries first: the person's name, the program's name, words of a hospital.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from worker.passphrases.breached import is_breached
from worker.passphrases.text import LONGEST, SHORTEST, folded, normalised

_LEAST_LEFT = 10
_SHORTEST_RUN = 4
_SHORTEST_NAME = 3

_GUESSED_FIRST = """
    nightread passphrase password passwort kennwort secret letmein welcome changeme default login signin admin
    administrator auditor adjudicator reader viewer guest user test demo hospital clinic klinik klinikum krankenhaus
    spital medical radiology radiologie radiologist radiographer radiography xray x-ray roentgen röntgen chest thorax
    lung lungs pneumonia screening doctor nurse patient night shift
"""
_WORDS = frozenset(_GUESSED_FIRST.split())
_ROWS = (
    "abcdefghijklmnopqrstuvwxyz",
    "012345678901234567890",
    "qwertyuiop",
    "qwertzuiop",
    "azertyuiop",
    "asdfghjkl",
    "qsdfghjklm",
    "zxcvbnm",
    "yxcvbnm",
    "wxcvbn",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "1q2w3e4r5t6y7u8i9o0p",
    "qazwsxedcrfvtgbyhnujmikolp",
    "!@#$%^&*()_+",
)
_RUNS = "\n".join((*_ROWS, *(row[::-1] for row in _ROWS)))
_PARTS = re.compile(r"[^\W\d_]+|\d+|[^\w\s]|_")
_REPEATED = re.compile(r"(.+?)\1+")

TOO_SHORT = f"A passphrase needs at least {SHORTEST} characters. Four words that do not belong together are easy to remember."
TOO_LONG = f"A passphrase has at most {LONGEST} characters."
NO_TEXT = "This passphrase holds characters that are not valid text. Type it again."
BREACHED = (
    "This passphrase is in a list of passphrases that were stolen elsewhere. Attackers try those first. "
    "Choose another one."
)
REPETITION = "This passphrase repeats the same characters or the same word. Choose words that differ."
NEIGHBOURS = (
    "This passphrase consists mostly of keys, letters or digits that follow each other. Choose other words."
)
CONTEXT = (
    "This passphrase consists mostly of words that others guess first: your name, the name of the program, "
    "words of a hospital. Choose other words."
)


def refusal(passphrase: str, *, name: str) -> str | None:
    """Return the sentence that says why a passphrase of the person with this name is refused; None: it is allowed."""
    problem = _wrong_form(passphrase)
    if problem is None and is_breached(passphrase):
        return BREACHED
    return problem or _easy_to_guess(folded(passphrase), name)


def _wrong_form(passphrase: str) -> str | None:
    length = len(normalised(passphrase[: LONGEST + 1]))
    if length < SHORTEST:
        return TOO_SHORT
    if max(length, len(passphrase)) > LONGEST:
        return TOO_LONG
    return NO_TEXT if any(unicodedata.category(character) == "Cs" for character in passphrase) else None


def _easy_to_guess(text: str, name: str) -> str | None:
    parts = _PARTS.findall(text)
    different = "".join(dict.fromkeys(parts))
    if _is_one_word(parts) or len(_without_repetition(different)) < _LEAST_LEFT:
        return REPETITION
    if len(_without_runs(_without_repetition(different))) < _LEAST_LEFT:
        return NEIGHBOURS
    own = _without_words(different, _WORDS | _parts_of(name))
    return CONTEXT if len(_without_runs(_without_repetition(own))) < _LEAST_LEFT else None


def _is_one_word(parts: list[str]) -> bool:
    words = [part for part in parts if part.isalpha()]
    return len(words) > 1 and len(set(words)) == 1


def _without_repetition(text: str) -> str:
    """Return a text in which no part stands twice in a row."""
    return _REPEATED.sub(r"\1", text)


def _without_runs(text: str) -> str:
    """Return a text without keys, letters and digits that follow each other."""
    left, at = [], 0
    while at < len(text):
        length = 1
        while at + length < len(text) and text[at : at + length + 1] in _RUNS:
            length += 1
        if length < _SHORTEST_RUN:
            left.append(text[at : at + 1])
            length = 1
        at += length
    return "".join(left)


def _without_words(text: str, words: Iterable[str]) -> str:
    for word in sorted(words, key=len, reverse=True):
        text = text.replace(word, "")
    return text


def _parts_of(name: str) -> frozenset[str]:
    text = folded(name)
    words = (*re.findall(r"\w+", text), "".join(text.split()))
    return frozenset(word for word in words if len(word) >= _SHORTEST_NAME)
