"""`nightread gate`: what several bundles reject of the same pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from tests.unit.training.tiny_bundle import add_gate
from training import cli
from training.gate import comparison
from training.gate.comparison import CHANGES, OTHERS, as_text
from training.gate.measures import interval
from worker.config import Settings
from worker.phantom import write_phantom

DRAWINGS = 6


@pytest.fixture(scope="module", autouse=True)
def few_drawings() -> Iterator[None]:
    """Draw six pictures of each kind, not forty. `test_shipped_gate` measures the shipped gate on more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "DRAWINGS", DRAWINGS)
        yield


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.gate, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def strict(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle whose gate rejects everything."""
    folder = Path(shutil.copytree(tiny, tmp_path_factory.mktemp("models") / "strict"))
    add_gate(folder)
    card = json.loads((folder / "card.json").read_text()) | {"name": "strict"}
    (folder / "card.json").write_text(json.dumps(card))
    return folder


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a table of four phantoms of three patients, and a folder of files that must be rejected."""
    root = tmp_path_factory.mktemp("films")
    (root / "others").mkdir()
    for seed in range(4):
        write_phantom(root / f"{seed}.jpeg", seed, width=320)
    rows = [f"{seed}.jpeg,normal,p{min(seed, 2)}" for seed in range(4)]
    (root / "table.csv").write_text("\n".join(["file,label,patient_id", *rows]))
    Image.fromarray(np.full((300, 300), 90, np.uint8)).save(root / "others" / "blank.png")
    write_phantom(root / "others" / "chest.jpg", 9, width=320)
    (root / "others" / "notes.txt").write_text("no picture")
    return root


@pytest.fixture(scope="module")
def document(tiny: Path, strict: Path, films: Path) -> dict[str, object]:
    done = run("--bundle", tiny, "--bundle", strict, *_arguments(films), "--json")
    assert done.exit_code == 0, done.output
    result: dict[str, object] = json.loads(done.stdout)
    return result


def _arguments(films: Path) -> tuple[object, ...]:
    return "--table", films / "table.csv", "--others", films / "others"


def test_each_bundle_answers_to_the_same_chests(document: dict[str, object]) -> None:
    chests = document["chests"]
    assert isinstance(chests, dict)
    assert (chests["n"], chests["patients"]) == (4, 3)
    passing, rejecting = chests["by_bundle"]
    assert (passing["rejected"], passing["share"], passing["share_ci"]) == ([], 0, interval(0.0, 3))
    assert rejecting["rejected"] == [{"file": f"{n}.jpeg", "reason": "not_a_chest"} for n in range(4)]
    assert rejecting["share"] == 1


def test_what_must_be_rejected_is_counted_by_kind(document: dict[str, object]) -> None:
    rows = document["must_be_rejected"]
    assert isinstance(rows, list)
    assert [row["kind"] for row in rows[: len(CHANGES)]] == list(CHANGES)
    assert {row["n"] for row in rows[: len(CHANGES)]} == {4}
    assert {row["n"] for row in rows[len(CHANGES) : -1]} == {DRAWINGS}
    assert {"skull", "text page", "mr slice"} < {row["kind"] for row in rows}
    # The strict gate lets nothing pass; without a gate an upside-down chest does.
    assert {row["share"][1] for row in rows} == {1}
    assert next(row["share"][0] for row in rows if row["kind"] == "upside down") == 0


def test_other_files_are_checked_and_those_that_pass_named(document: dict[str, object]) -> None:
    rows = document["must_be_rejected"]
    assert isinstance(rows, list)
    assert rows[-1] == {"kind": OTHERS, "n": 2, "share": [0.5, 1.0]}
    assert document["passed_files"] == [{"file": "chest.jpg", "bundle": "tiny 0.0.1"}]


def test_the_text_names_every_rejected_chest(
    tiny: Path, strict: Path, films: Path, document: dict[str, object]
) -> None:
    text = run("--bundle", tiny, "--bundle", strict, *_arguments(films)).stdout
    assert "4 frontal chests of 3 patients, which should pass:" in text
    assert "strict 0.0.1: 4 rejected, 100.00 %" in text
    assert text.count(": not_a_chest") == 4
    assert "chest.jpg passes tiny 0.0.1." in text
    # The same of each run.
    assert text == f"{as_text(document)}\n"


def test_the_shipped_gate_rejects_spoiled_phantoms(films: Path) -> None:
    done = run("--bundle", Settings().model, "--table", films / "table.csv", "--json")
    shares = {row["kind"]: row["share"][0] for row in json.loads(done.stdout)["must_be_rejected"]}
    assert min(shares[kind] for kind in ("inverted", "turned right", "turned left", "upside down")) >= 0.75
    assert shares["text page"] == 1


def test_wrong_use_is_a_sentence(tiny: Path, films: Path) -> None:
    assert run("--bundle", tiny).exit_code == 2
    assert run("--bundle", films, "--table", films / "table.csv").exit_code == 2
