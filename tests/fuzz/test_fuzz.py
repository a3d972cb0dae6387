"""The short form of fuzzing: the corpus and 600 mutated files for each target, the same in every run.

`make fuzz` is the long, coverage-guided form. Add the files that it reports to the corpus.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.files import harmed
from tests.fuzz.seeds import CORPUS
from tests.fuzz.targets import TARGETS, dicom, inspection, model_input
from worker.errors import REJECTIONS

FILES = sorted(CORPUS.iterdir())
RESULTS = {
    "jpeg",
    "png",
    "png16",
    "dicom",
    "(64, 64)",
    "too large",
    "8 bits",
    "16 bits",
    "by lut",
    "by window",
    "by range",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_corpus_file_has_a_result_or_a_rejection(path: Path) -> None:
    assert {target(path.read_bytes()) for target in TARGETS.values()} <= RESULTS | set(REJECTIONS)


@pytest.mark.parametrize("name", TARGETS)
def test_each_mutated_file_has_a_result_or_a_rejection(name: str) -> None:
    rng = random.Random(name)
    corpus = [data for path in FILES if (data := path.read_bytes())]
    outcomes = set()
    for _ in range(600):
        data = harmed(rng.choice(corpus), rng)
        if rng.random() < 0.3:
            other = rng.choice(corpus)
            data = data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other)) :]
        outcomes.add(TARGETS[name](data))
    assert outcomes <= RESULTS | set(REJECTIONS)
    assert outcomes & RESULTS
    assert len(outcomes & set(REJECTIONS)) > 1


def test_corpus_reaches_the_intended_outcomes() -> None:
    inspected = {inspection(path.read_bytes()) for path in FILES}
    decoded = {model_input(path.read_bytes()) for path in FILES}
    objects = {dicom(path.read_bytes()) for path in FILES}
    assert inspected >= {
        "jpeg",
        "png",
        "png16",
        "dicom",
        "animated",
        "cmyk",
        "sixteen_bit",
        "unsupported_jpeg",
        "empty",
    }
    assert decoded >= {"(64, 64)", "truncated", "damaged", "undecodable", "cmyk", "transparent", "blank"}
    assert objects >= {"by lut", "by window", "by range", "truncated", "dicom_tag_wrong"}


def test_unexpected_exception_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("tests.fuzz.targets.to_model_input", fail)
    with pytest.raises(RuntimeError, match="a defect"):
        model_input((CORPUS / "grey-jpg").read_bytes())
