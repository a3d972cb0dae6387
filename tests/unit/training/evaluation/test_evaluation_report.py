"""The report of an evaluation: one self-contained file with all sections and bounded lists."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from training import cli
from training.data.radiographs import Radiograph, list_folders
from training.evaluation import gallery as evaluation_gallery
from training.evaluation.evaluate import document_of
from training.evaluation.pictures import overlay, read_grey
from training.evaluation.plots import reliability_rows
from training.evaluation.report import NOTICE, write_report
from training.evaluation.scoring import RejectedFile, ScoredImages, score_images
from training.evaluation.summary import summary, warnings
from training.html.blocks import Block, Grid, Panel, Panels, Prose, Table
from worker.inference.bundle import load_bundle
from worker.phantom import write_phantom


@pytest.fixture(scope="module")
def known(tiny: Path, chests: Path) -> ScoredImages:
    """Score 48 images with known sex and view, and one file that is rejected."""
    images = [
        replace(each, traits={"age_years": "4", "sex": "FM"[n % 2], "view": "PA"})
        for n, each in enumerate(list_folders(chests))
    ]
    away = Radiograph(images[0].path, pneumonia=False, subtype=0, patient="away")
    found = score_images(load_bundle(tiny), images)
    return replace(found, rejected=[RejectedFile(48, away, "lateral", "It is seen from the side.")])


@pytest.fixture(scope="module")
def written(known: ScoredImages, chests: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, known, document_of(known, prevalence=0.1, repeats=60), chests)
    return path.read_text(encoding="utf-8")


def report_of(examined: ScoredImages, root: Path, path: Path) -> str:
    write_report(path, examined, document_of(examined, repeats=20), root)
    return path.read_text(encoding="utf-8")


def test_report_has_all_sections_in_order(written: str) -> None:
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", written) == [
        "Summary", "Metrics", "Discrimination", "Decisions", "Expected results for 1,000 images", "Calibration",
        "Subgroups", "Samples", "Most confident errors", "Rejected images", "Methods",
    ]  # fmt: skip


def test_report_is_self_contained_and_has_its_notice(written: str) -> None:
    assert not re.findall(r"(?:src|href)=\"(?!data:image/|#)", written)
    assert "http:" not in written.replace("http://www.w3.org", "")
    footer = written[written.index("<footer>") :]
    assert NOTICE in unescape(footer)
    assert "Never a diagnosis" in footer


def test_plots_have_text_alternatives(written: str) -> None:
    plots = re.findall(r'<img src="data:image/svg[^"]*" alt="([^"]*)"', written)
    assert [alt.split()[0] for alt in plots] == ["ROC", "Histogram", "Reliability", "AUC,", "AUC,"]


def test_metrics_appear_with_their_intervals(written: str, known: ScoredImages) -> None:
    document = document_of(known, prevalence=0.1, repeats=60)
    for name in ("auc", "recall", "specificity", "brier"):
        low, high = document[f"{name}_ci"]
        assert f"{document[name]:.3f} [{low:.3f}, {high:.3f}]" in written
    counts = document["confusion"]
    assert re.search(rf"<td[^>]*>{counts['true_positive']} \(", written)
    assert "If 10.0\u00a0% of the images show pneumonia, as requested" in written


def test_images_appear_beside_their_maps(written: str, known: ScoredImages) -> None:
    panels = written.count('class="card plain"')
    assert panels == written.count('alt="Map of ')
    assert panels == 2 * evaluation_gallery.SAMPLES + sum(map(len, mistakes(known)))


def names_in(panels: str) -> list[str]:
    return re.findall(r"<span>((?:NORMAL|PNEUMONIA)/[^<]*)</span>", panels)


def mistakes(known: ScoredImages) -> tuple[list[int], list[int]]:
    """Return missed images and false alarms, the most extreme score of each patient first."""
    p, sick = known.scored.p, known.scored.pneumonia
    called = p >= known.point.threshold
    missed = sorted(map(int, np.flatnonzero(sick & ~called)), key=lambda index: p[index])
    alarms = sorted(map(int, np.flatnonzero(~sick & called)), key=lambda index: -p[index])
    return of_each_patient(known, missed), of_each_patient(known, alarms)


def of_each_patient(known: ScoredImages, indices: list[int]) -> list[int]:
    patients = [known.radiographs[index].patient for index in indices]
    return [index for place, index in enumerate(indices) if patients[place] not in patients[:place]]


def test_most_confident_errors_are_listed_first(written: str, known: ScoredImages, chests: Path) -> None:
    section = written[written.index('id="most-confident-errors"') : written.index('id="rejected-images"')]
    missed, alarms = mistakes(known)
    expected = [*missed, *alarms]
    assert names_in(section) == [str(known.radiographs[index].path.relative_to(chests)) for index in expected]
    assert f"score {known.scored.p[expected[0]]:.3f}" in section
    assert min(len(missed), len(alarms)) > 1


def shown_in(blocks: Iterable[Block]) -> list[Panel]:
    return [card for block in blocks if isinstance(block, Panels) for card in block.panels]


def test_lists_are_bounded(known: ScoredImages, chests: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_gallery, "WORST", 1)
    assert len(shown_in(evaluation_gallery.worst(known, chests))) == 2
    most = evaluation_gallery.LONGEST_LIST
    many = replace(known, rejected=known.rejected * (most + 10))
    document = {"n": 48, "turned_away_reasons": {"lateral": most + 10}}
    said, table, pictures = evaluation_gallery.rejected_images(many, document, chests)
    assert isinstance(said, Prose)
    assert "60 of 108 images were rejected" in said.text
    assert "50 of 60 are shown" in said.text
    assert isinstance(table, Table)
    assert len(table.rows) == most
    assert isinstance(pictures, Grid)
    assert len(pictures.pictures) == most


def test_errors_show_one_image_a_patient(known: ScoredImages, chests: Path) -> None:
    same = replace(
        known, radiographs=[replace(radiograph, patient="one") for radiograph in known.radiographs]
    )
    assert len(shown_in(evaluation_gallery.worst(same, chests))) == 2


def test_file_names_are_escaped(tiny: Path, chests: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(chests, tmp_path / "set"))
    write_phantom(root / "NORMAL" / "<img src=x onerror=alert(1)>.jpeg", 1, width=96)
    broken = root / "NORMAL" / "\udcff<b>.jpeg"
    broken.write_bytes(b"")
    text = report_of(score_images(load_bundle(tiny), list_folders(root)), root, tmp_path / "r.html")
    assert "<img src=x" not in text
    assert "?&lt;b&gt;.jpeg" in text
    assert "The file is empty." in text


def test_one_class_still_gives_a_report(tiny: Path, chests: Path, tmp_path: Path) -> None:
    sick = [each for each in list_folders(chests) if each.pneumonia]
    text = report_of(score_images(load_bundle(tiny), sick), chests, tmp_path / "r.html")
    assert "All images have the same label" in text
    assert "one class is missing" in text
    assert "sensitivity (recall)" in text


def test_model_without_errors_is_reported(known: ScoredImages, chests: Path) -> None:
    called = known.scores.p_pneumonia >= known.point.threshold
    agreeing = [
        replace(each, pneumonia=bool(sick), subtype=1 if sick else 0)
        for each, sick in zip(known.radiographs, called, strict=True)
    ]
    (said,) = evaluation_gallery.worst(replace(known, radiographs=agreeing), chests)
    assert said == Prose("There are no errors: every image was classified correctly.")
    counts = {"true_positive": 90, "false_negative": 10, "false_positive": 0, "true_negative": 100}
    assert any(sentence.endswith("It raises no false alarms.") for sentence in sentences(confusion=counts)[0])


def test_command_writes_report_and_prints_one_document(tiny: Path, chests: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    done = CliRunner().invoke(
        cli.evaluate, ["--bundle", str(tiny), "--data", str(chests), "--report", str(out), "--json"]
    )
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("{")
    assert "tiny 0.0.1 on chests" in out.read_text()


# Summary


def sentences(**more: Any) -> tuple[Sequence[str], Sequence[str]]:
    document: dict[str, Any] = {
        "n": 200,
        "patients": 150,
        "prevalence": 0.5,
        "turned_away": 0,
        "confusion": {"true_positive": 90, "false_negative": 10, "false_positive": 20, "true_negative": 80},
        "operating_point": {"name": "balanced"},
        "recall": 0.9,
        "recall_ci": [0.82, 0.95],
        "specificity": 0.8,
        "specificity_ci": [0.7, 0.88],
        "auc": 0.93,
        "auc_ci": [0.9, 0.96],
        "ece": 0.08,
        "ece_ci": [0.05, 0.11],
        "ece_by_chance": 0.03,
        "verdicts": {"clear": 70},
        "verdicts_by_truth": {"pneumonia": {"clear": 7}},
        "per_1000": [{"pneumonia_among_clear_ci": [0.04, 0.18]}],
    } | more
    return list(summary(document)), list(warnings(document))


def test_summary_has_whole_sentences() -> None:
    said, alarms = sentences()
    assert alarms == []
    assert [sentence.replace("\u00a0", " ") for sentence in said] == [
        "200 images of 150 patients were scored; 100 of them (50.0 %) are labelled with pneumonia.",
        (
            "At the operating point balanced, the model classifies 90 of 100 images with pneumonia as positive: 90.0 % "
            "(95 % interval 82.0 % to 95.0 %). It misses 10."
        ),
        (
            "It classifies 80 of 100 images without pneumonia as negative: 80.0 % (95 % interval 70.0 % to 88.0 %). "
            "It raises 20 false alarms."
        ),
        "It clears 70 images, of which 7 show pneumonia: 10.0 % (95 % interval 4.0 % to 18.0 %).",
        (
            "A random image with pneumonia scores above a random one without 93.0 % of the time "
            "(AUC 0.930, 95 % interval 0.900 to 0.960)."
        ),
        "Scores differ from frequencies by 0.080 on average, more than chance alone would explain (0.030).",
    ]


@pytest.mark.parametrize(
    ("more", "alarm"),
    [
        ({"auc_ci": [0.45, 0.6]}, "not shown to be better than chance"),
        ({"auc_ci": [0.3, 0.45]}, "worse than chance"),
        ({"auc": None}, "All images have the same label"),
        ({"turned_away": 20}, "20 images (9.1\u00a0%) were rejected"),
        ({"patients": 12}, "only 12 patients"),
    ],
)
def test_warnings_come_first(more: dict[str, Any], alarm: str) -> None:
    _, alarms = sentences(**more)
    assert len(alarms) == 1
    assert alarm in alarms[0]


def test_error_by_chance_is_not_reported_as_a_fault() -> None:
    said, _ = sentences(ece=0.03, ece_ci=[0.01, 0.05])
    assert "no more than chance alone would explain" in said[-1]
    assert "It clears no image." in sentences(verdicts={"clear": 0})[0]


# Pictures


def test_empty_map_changes_nothing_strong_map_is_amber() -> None:
    grey = np.full((40, 60), 90, dtype=np.uint8)
    assert (overlay(grey, np.zeros((8, 8), dtype=np.uint8)) == 90).all()
    activation = np.zeros((8, 8), dtype=np.uint8)
    activation[:, 4:] = 255
    red, _, blue = np.moveaxis(overlay(grey, activation), -1, 0).astype(int)
    assert (red[:, -10:] > blue[:, -10:] + 60).all()
    assert (np.abs(red - blue)[:, :10] < 5).all()


def test_map_covers_the_part_that_the_network_saw() -> None:
    grey = np.full((40, 60), 90, dtype=np.uint8)
    drawn = overlay(grey, np.full((8, 8), 255, dtype=np.uint8), (0.25, 0.1, 0.75, 0.6))
    changed = (drawn != 90).any(axis=-1)
    assert np.array_equal(np.flatnonzero(changed.any(axis=0)), np.arange(15, 45))
    assert np.array_equal(np.flatnonzero(changed.any(axis=1)), np.arange(4, 24))


def test_images_are_upright_and_small(tmp_path: Path) -> None:
    lying = Image.fromarray(np.tile(np.arange(0, 250, dtype=np.uint8), (500, 4)))
    turned = Image.Exif()
    turned[0x0112] = 6
    lying.save(tmp_path / "lying.jpeg", exif=turned)
    assert read_grey(tmp_path / "lying.jpeg").shape == (288, 144)


def test_bin_rows_contain_all_images(known: ScoredImages) -> None:
    rows = reliability_rows(known.scored)
    assert len(rows) == 15
    assert sum(count for _, count, _, _ in rows) == 48
    assert [mean for _, _, mean, _ in rows] == sorted(mean for _, _, mean, _ in rows)
