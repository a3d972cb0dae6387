"""The short form of fuzzing: the corpus, and a few hundred mutated files, the same ones every time.

`make fuzz` is the long form, guided by coverage. Files that it reports are added to the corpus.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.files import harmed
from tests.fuzz.seeds import CORPUS
from tests.fuzz.targets import TARGETS, inspection, model_input
from worker.errors import REJECTIONS

FILES = sorted(CORPUS.iterdir())
RESULTS = {"jpeg", "png", "(64, 64)", "too large"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_corpus_file_has_a_result_or_a_rejection(path: Path) -> None:
    assert {target(path.read_bytes()) for target in TARGETS.values()} <= RESULTS | set(REJECTIONS)


@pytest.mark.parametrize("name", TARGETS)
def test_each_mutated_file_has_a_result_or_a_rejection(name: str) -> None:
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
    # Enough different outcomes, so that some files were decoded.
    assert len(seen) > 5


def test_the_corpus_reaches_the_intended_outcomes() -> None:
    inspected = {inspection(path.read_bytes()) for path in FILES}
    decoded = {model_input(path.read_bytes()) for path in FILES}
    assert inspected >= {"jpeg", "png", "dicom", "animated", "cmyk", "sixteen_bit", "transparent", "empty"}
    assert decoded >= {"(64, 64)", "truncated", "undecodable", "cmyk", "sixteen_bit", "blank"}


def test_any_other_exception_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("tests.fuzz.targets.to_model_input", fails)
    with pytest.raises(RuntimeError, match="a defect"):
        model_input((CORPUS / "grey-jpg").read_bytes())
