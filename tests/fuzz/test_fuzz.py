"""The short form of the fuzzing: the corpus, and a few hundred files made of it, the same ones every time.

`make fuzz` is the long form, guided by coverage. What it finds is added to the corpus.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.files import harmed
from tests.fuzz.seeds import CORPUS
from tests.fuzz.targets import TARGETS, door, model_input
from worker.errors import REJECTIONS

FILES = sorted(CORPUS.iterdir())
RESULTS = {"jpeg", "png", "(64, 64)", "too large"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_file_of_the_corpus_has_a_result_or_a_reason(path: Path) -> None:
    assert {target(path.read_bytes()) for target in TARGETS.values()} <= RESULTS | set(REJECTIONS)


@pytest.mark.parametrize("name", TARGETS)
def test_so_has_whatever_is_made_of_it(name: str) -> None:
    chance = random.Random(name)
    whole = [data for path in FILES if (data := path.read_bytes())]
    seen = set()
    for _ in range(600):
        data = harmed(chance.choice(whole), chance)
        if chance.random() < 0.3:
            other = chance.choice(whole)
            data = data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other)) :]
        seen.add(TARGETS[name](data))
    assert seen <= RESULTS | set(REJECTIONS)
    # Enough of them come far enough to be decoded.
    assert len(seen) > 5


def test_the_corpus_reaches_what_it_is_for() -> None:
    at_the_door = {door(path.read_bytes()) for path in FILES}
    decoded = {model_input(path.read_bytes()) for path in FILES}
    assert at_the_door >= {"jpeg", "png", "dicom", "animated", "cmyk", "sixteen_bit", "transparent", "empty"}
    assert decoded >= {"(64, 64)", "truncated", "undecodable", "cmyk", "sixteen_bit", "blank"}


def test_what_is_neither_a_result_nor_a_reason_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("tests.fuzz.targets.to_model_input", fails)
    with pytest.raises(RuntimeError, match="a defect"):
        model_input((CORPUS / "grey-jpg").read_bytes())
