"""`nightread robustness`: the worker's own code answers to the changed files."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from tests.unit.training.tiny_bundle import add_gate
from training import cli
from training.data.radiographs import Radiograph, list_folders, list_table
from training.evaluation.scoring import NothingScored, score_images
from training.robustness.changes import all_changes
from training.robustness.measuring import CROPPED, Measured, measure
from worker.inference.bundle import load_bundle
from worker.inference.triage import OperatingPoint, Verdict
from worker.phantom import draw_phantom, write_phantom

SOME = ("white margin, four sides, 20 %", "JPEG quality, 95", "inverted", "zoom, black around, 0.6")
CHANGES = [change for change in all_changes() if change.name in SOME]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.robustness, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a table of six phantoms, large enough for the film finder."""
    folder = tmp_path_factory.mktemp("films")
    with (folder / "table.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "label", "patient_id"])
        for seed in range(6):
            name = write_phantom(folder / f"{seed}.jpeg", seed, width=320, opacity=seed % 2 == 1).name
            rows.writerow([name, "pneumonia" if seed % 2 else "normal", f"p{seed // 2}"])
    return folder


@pytest.fixture(scope="module")
def answered(tiny: Path, films: Path) -> Measured:
    return measure(load_bundle(tiny), list_table(films / "table.csv"), CHANGES)


def test_untouched_answers_are_those_of_evaluate(tiny: Path, chests: Path) -> None:
    images = list_folders(chests)
    told: list[int] = []
    result = measure(load_bundle(tiny), images, [], told.append)
    expected = score_images(load_bundle(tiny), images)
    assert [answer.p for answer in result.untouched] == expected.scores.p_pneumonia.tolist()
    assert [answer.verdict for answer in result.untouched] == expected.verdicts
    assert told == [1] * len(images)


def test_the_film_finder_answers_to_the_changed_file(answered: Measured) -> None:
    by_name = dict(zip([change.name for change in answered.changes], answered.answers, strict=True))
    margin = by_name["white margin, four sides, 20 %"]
    assert [answer.marks for answer in margin] == [(CROPPED,)] * 6
    # The film is found again, so the scores hardly move.
    for before, after in zip(answered.untouched, margin, strict=True):
        assert before.p is not None
        assert after.p == pytest.approx(before.p, abs=0.1)
    assert not any(answer.marks for answer in by_name["JPEG quality, 95"])
    assert by_name["inverted"] != answered.untouched


def test_a_cropped_film_is_clear_only_far_below_the_band(tiny: Path, films: Path) -> None:
    bundle = load_bundle(tiny)
    all_below = OperatingPoint(bundle.default_operating_point, 1.0, 1.0, 1.0)
    bundle = replace(bundle, operating_points={all_below.name: all_below})
    result = measure(bundle, list_table(films / "table.csv"), CHANGES[:1])
    assert {answer.verdict for answer in result.untouched} == {Verdict.CLEAR}
    high = [answer for answer in result.answers[0] if answer.p is not None and answer.p > 0.7]
    assert {answer.verdict for answer in high} == {Verdict.UNCERTAIN}


def test_rejections_of_the_gate_are_counted(tiny: Path, films: Path, tmp_path: Path) -> None:
    gated = Path(shutil.copytree(tiny, tmp_path / "gated"))
    add_gate(gated)
    image = Radiograph(films / "1.jpeg", pneumonia=True, subtype=None, patient="one")
    with pytest.raises(NothingScored, match="None of the 1 untouched images"):
        measure(load_bundle(gated), [image], CHANGES)


def test_untouched_rejections_are_left_out(tiny: Path, films: Path, tmp_path: Path) -> None:
    sheet = Image.new("L", (700, 500), 255)
    for x in (20, 360):
        sheet.paste(draw_phantom(1, width=300), (x, 60))
    sheet.save(tmp_path / "page.png")
    page, film = (
        Radiograph(path, pneumonia=True, subtype=None, patient=path.stem)
        for path in (tmp_path / "page.png", films / "1.jpeg")
    )
    result = measure(load_bundle(tiny), [page, film], CHANGES)
    assert result.radiographs == [film]
    assert result.rejected == [(page, "on_a_page")]
    assert [len(answers) for answers in result.answers] == [1] * len(CHANGES)


def test_the_command_says_the_same_twice(tiny: Path, films: Path, tmp_path: Path) -> None:
    arguments = ("--bundle", tiny, "--table", films / "table.csv")
    first = run(*arguments, "--json", "--plot", tmp_path / "plot.svg")
    assert first.exit_code == 0, first.output
    assert first.stdout == run(*arguments, "--json").stdout
    document = json.loads(first.stdout)
    assert (document["n"], document["patients"], document["pneumonia"]) == (6, 3, 3)
    assert [cell["name"] for cell in document["cells"]] == [change.name for change in all_changes()]
    assert b"<svg" in (tmp_path / "plot.svg").read_bytes()


def test_the_command_prints_text_or_tables(tiny: Path, films: Path) -> None:
    arguments = ("--bundle", tiny, "--table", films / "table.csv")
    text = run(*arguments)
    assert text.stdout.startswith("tiny 0.0.1, sha256 ")
    assert "6 images of 3 patients, 3 with pneumonia" in text.stdout
    tables = run(*arguments, "--markdown").stdout
    assert tables.count("\n| change |") == 2
    assert len(re.findall(r"^\| \**half resolution\** \|", tables, re.MULTILINE)) == 2


def test_wrong_use_is_a_sentence(tiny: Path, films: Path, tmp_path: Path) -> None:
    both = run("--bundle", tiny, "--table", films / "table.csv", "--json", "--markdown")
    assert (both.exit_code, "Give either --json or --markdown." in both.stderr) == (2, True)
    none = run("--bundle", tiny)
    assert (none.exit_code, "Give either --data or --table." in none.stderr) == (2, True)
    (tmp_path / "empty.jpeg").write_bytes(b"")
    (tmp_path / "table.csv").write_text("file,label\nempty.jpeg,normal\n")
    nothing = run("--bundle", tiny, "--table", tmp_path / "table.csv")
    assert (nothing.exit_code, "None of the 1 untouched images" in nothing.stderr) == (1, True)
