"""`nightread evaluate`: listing, scoring, the document, predictions and text."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from sklearn.metrics import roc_auc_score

from tests.unit.training.tiny_bundle import THRESHOLD, add_gate
from training import cli
from training.data.radiographs import Radiograph, list_folders, list_table
from training.errors import WrongInput
from training.evaluation.consequences import per_1000, verdict_shares
from training.evaluation.evaluate import age_band, document_of, pairs, subgroups
from training.evaluation.listing import list_images
from training.evaluation.metrics import LabelledScores
from training.evaluation.predictions import COLUMNS
from training.evaluation.scoring import NothingScored, ScoredImages, score_images
from worker.inference.bundle import load_bundle
from worker.inference.classifier import Classifier
from worker.inference.preprocess import to_model_input
from worker.inference.triage import OperatingPoint
from worker.phantom import draw_phantom, write_phantom

METRICS = (
    "auc", "accuracy", "precision", "recall", "specificity", "f1", "sensitivity_at_specificity_90",
    "specificity_at_sensitivity_95", "ece", "brier", "three_class_accuracy",
)  # fmt: skip
OTHERS = ("n", "confusion", "operating_point", "turned_away", "subgroups")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.evaluate, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def examined(tiny: Path, chests: Path) -> ScoredImages:
    return score_images(load_bundle(tiny), list_folders(chests))


@pytest.fixture
def table(chests: Path, tmp_path: Path) -> Path:
    """Write a table of the same images with patient traits, and of one truncated file."""
    (tmp_path / "cut.jpg").write_bytes(next((chests / "NORMAL").iterdir()).read_bytes()[:700])
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "label", "age_years", "sex", "view", "patient_id"])
        rows.writerow(["cut.jpg", "normal", "", "", "", "cut"])
        for n, image in enumerate(sorted(chests.rglob("*.jpeg"))):
            label = "normal" if image.parent.name == "NORMAL" else "pneumonia"
            rows.writerow([image, label, 10 + n, "F" if n % 5 else "M", "PA", f"p{n}"])
    return path


# Scoring


def test_scores_are_those_of_the_served_network(examined: ScoredImages, tiny: Path) -> None:
    bundle = load_bundle(tiny)
    inputs = [
        to_model_input(radiograph.path.read_bytes(), bundle.side) for radiograph in examined.radiographs
    ]
    expected = Classifier(bundle).predict_batch(np.stack(inputs))
    assert (examined.scores.probabilities == expected.probabilities).all()
    assert (examined.scores.activation == expected.activation).all()


def test_images_are_scored_in_batches_with_progress(
    tiny: Path, chests: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.evaluation.scoring._AT_ONCE", 10)
    told: list[int] = []
    parts = score_images(load_bundle(tiny), list_folders(chests), told.append)
    assert told == [10, 10, 10, 10, 8]
    assert len(parts.scored) == len(parts.radiographs) == 48


def test_rejected_images_are_listed_with_their_reasons(tiny: Path, table: Path) -> None:
    found = score_images(load_bundle(tiny), list_table(table))
    (away,) = found.rejected
    assert (away.place, away.code, away.radiograph.path.name) == (0, "truncated", "cut.jpg")
    assert away.sentence == "The file ends before the image is complete."
    assert len(found.scored) == 48


def test_no_scored_image_is_an_error(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jpeg").write_bytes(b"")
    nothing = [Radiograph(tmp_path / "empty.jpeg", pneumonia=True, subtype=None, patient="one")]
    with pytest.raises(NothingScored, match=r"None of the 1 images .* empty.jpeg: The file is empty"):
        score_images(load_bundle(tiny), nothing)


def test_the_gate_of_the_bundle_is_applied(tiny: Path, chests: Path, tmp_path: Path) -> None:
    gated = Path(shutil.copytree(tiny, tmp_path / "gated"))
    add_gate(gated)
    with pytest.raises(NothingScored, match="This does not look like a complete frontal chest radiograph"):
        score_images(load_bundle(gated), list_folders(chests))


def test_two_films_on_a_page_count_as_rejected(tiny: Path, chests: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    sheet = Image.new("L", (700, 500), 255)
    for x in (20, 360):
        sheet.paste(draw_phantom(1, width=300), (x, 60))
    sheet.save(path)
    page = Radiograph(path, pneumonia=True, subtype=None, patient="page")
    images = score_images(load_bundle(tiny), [*list_folders(chests), page])
    assert [(rejection.radiograph.path, rejection.code) for rejection in images.rejected] == [
        (path, "on_a_page")
    ]
    assert len(images.scored) == 48


# The document


def test_the_document_has_every_key(tiny: Path, chests: Path) -> None:
    done = run("--bundle", tiny, "--data", chests, "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert {*METRICS, *(f"{name}_ci" for name in METRICS), *OTHERS} <= document.keys()
    for name in METRICS:
        low, high = document[f"{name}_ci"]
        assert 0 <= low <= document[name] <= high <= 1
    assert (document["n"], document["turned_away"], document["patients"]) == (48, 0, len(patients(chests)))
    assert document["subgroups"] == {}
    assert document["operating_point"] == {
        "name": "balanced",
        "threshold": THRESHOLD,
        "band_low": pytest.approx(THRESHOLD - 0.07),
        "band_high": pytest.approx(THRESHOLD + 0.1),
    }
    assert [each["name"] for each in document["operating_points"]] == ["screen", "balanced", "rule-in"]


def patients(chests: Path) -> set[str]:
    return {each.patient for each in list_folders(chests)}


def test_metrics_follow_from_the_predictions_csv(tiny: Path, chests: Path, tmp_path: Path) -> None:
    """Recompute the document's metrics from the CSV."""
    out = tmp_path / "predictions.csv"
    document = json.loads(run("--bundle", tiny, "--data", chests, "--predictions", out, "--json").stdout)
    with out.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    sick = np.array([row["label"] != "normal" for row in rows])
    p = np.array([float(row["p_pneumonia"]) for row in rows])
    verdict = np.array([row["verdict"] for row in rows])
    called = p >= document["operating_point"]["threshold"]
    assert document["auc"] == pytest.approx(roc_auc_score(sick, p))
    assert document["accuracy"] == pytest.approx((called == sick).mean())
    assert document["confusion"]["false_negative"] == (sick & ~called).sum() > 0
    assert document["confusion"]["false_positive"] == (~sick & called).sum() > 0
    for name in ("flagged", "uncertain", "clear"):
        assert document["verdicts"][name] == (verdict == name).sum() > 0
        assert document["verdicts_by_truth"]["pneumonia"][name] == (sick & (verdict == name)).sum()
    by_point = {each["name"]: each for each in document["operating_points"]}
    for name in ("recall", "specificity", "precision"):
        assert by_point["balanced"][name] == pytest.approx(document[name])
    assert by_point["screen"]["recall"] >= by_point["balanced"]["recall"]
    classes = document["confusion_of_classes"]
    assert sum(sum(row.values()) for row in classes.values()) == 48
    right = sum(classes[name][name] for name in classes)
    assert document["three_class_accuracy"] == pytest.approx(right / 48)


def test_the_bundles_own_operating_point_is_measured(tiny: Path, chests: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "bundle"))
    card = json.loads((folder / "card.json").read_text())
    mine = {"threshold": 0.8, "band_low": 0.0, "band_high": 1.0}
    card |= {"operating_points": {"mine": mine}, "default_operating_point": "mine"}
    (folder / "card.json").write_text(json.dumps(card))
    found = score_images(load_bundle(folder), list_folders(chests))
    document = document_of(found, repeats=10)
    called = found.scores.p_pneumonia >= 0.8
    assert 0 < called.sum() < 24
    assert document["operating_point"] == {"name": "mine", **mine}
    assert document["accuracy"] == pytest.approx((called == found.scored.pneumonia).mean())
    assert document["verdicts"] == {"flagged": 0, "uncertain": 48, "clear": 0}


def test_the_same_images_give_the_same_document(examined: ScoredImages) -> None:
    assert document_of(examined, repeats=50) == document_of(examined, repeats=50)


def test_expected_results_follow_bayes_rule() -> None:
    p = np.concatenate([np.linspace(0, 0.6, 100), np.linspace(0.4, 1, 100)])
    sick = np.arange(200) >= 100
    scored = LabelledScores(sick, p, sick * 1, sick * 1, np.arange(200))
    point = OperatingPoint("here", 0.5, 0.45, 0.55)
    shares = verdict_shares(scored, point, 200, 1)
    found = per_1000(shares, 0.1)
    among_sick = ((p >= 0.55) & sick).sum() / 100
    among_well = ((p >= 0.55) & ~sick).sum() / 100
    assert found["pneumonia"]["flagged"] == pytest.approx(100 * among_sick)
    assert found["normal"]["flagged"] == pytest.approx(900 * among_well)
    assert found["pneumonia_among_flagged"] == pytest.approx(
        100 * among_sick / (100 * among_sick + 900 * among_well)
    )
    assert sum(found["pneumonia"][name] for name in ("flagged", "uncertain", "clear")) == pytest.approx(100)
    low, high = found["pneumonia_among_flagged_ci"]
    assert low < found["pneumonia_among_flagged"] < high
    own = per_1000(shares, 0.5)
    assert own["pneumonia_among_clear"] == pytest.approx(sick[p < 0.45].mean())


def test_no_false_alarm_in_forty_is_not_certainty() -> None:
    sick = np.arange(80) % 2 == 0
    p = np.where(sick, 0.9, 0.1)
    scored = LabelledScores(sick, p, sick * 1, sick * 1, np.arange(80))
    found = per_1000(verdict_shares(scored, OperatingPoint("here", 0.5, 0.5, 0.5), 100, 1), 0.01)
    assert found["pneumonia_among_flagged"] == 1.0
    assert found["pneumonia_among_flagged_ci"][0] < 0.15
    assert found["normal"]["flagged_ci"] == [0, pytest.approx(990 * (1 - 0.025 ** (1 / 40)))]


def test_requested_prevalence_is_added(tiny: Path, chests: Path) -> None:
    arguments = ("--bundle", tiny, "--data", chests, "--json")
    shares = [load["prevalence"] for load in json.loads(run(*arguments).stdout)["per_1000"]]
    assert shares == [pytest.approx(len(list((chests / "PNEUMONIA").iterdir())) / 48)]
    asked = json.loads(run(*arguments, "--prevalence", "0.05").stdout)["per_1000"]
    assert [each["prevalence"] for each in asked] == [*shares, 0.05]


# Subgroups


def test_small_groups_have_no_metrics(tiny: Path, table: Path) -> None:
    document = json.loads(run("--bundle", tiny, "--table", table, "--json").stdout)
    groups = document["subgroups"]
    assert groups["sex"]["M"] == {"n": 10, "suppressed": True}
    assert groups["age"]["0-17"] == {"n": 8, "suppressed": True}
    # There are 22 images at 18 to 39 years, but few of them show pneumonia.
    assert groups["age"]["18-39"] == {"n": 22, "suppressed": True}
    assert groups["view"]["PA"]["auc"] == document["auc"]
    assert groups["sex"]["F"]["n"] == 38
    assert document["turned_away_reasons"] == {"truncated": 1}
    assert document["three_class_accuracy"] is None
    assert document["confusion_of_classes"] is None


def test_pairs_of_traits_need_enough_images() -> None:
    rng = np.random.default_rng(2)
    sick = np.arange(120) % 2 == 0
    scored = LabelledScores(sick, rng.random(120), sick * 1, sick * 1, np.arange(120))
    chests = [
        Radiograph(Path(str(n)), bool(sick[n]), None, str(n), {"sex": "FM"[n < 50], "view": "PA" if n < 90 else "AP"})
        for n in range(120)
    ]  # fmt: skip
    point = OperatingPoint("here", 0.5, 0.5, 0.5)
    found = pairs(chests, scored, point, repeats=10)
    assert {trait: {name: one["n"] for name, one in groups.items()} for trait, groups in found.items()} == {
        "sex, view": {"F, AP": 30, "F, PA": 40, "M, PA": 50}
    }
    one = subgroups(chests, scored, point, repeats=10)["view"]["AP"]
    assert one == found["sex, view"]["F, AP"]


@pytest.mark.parametrize(
    ("age", "band"),
    [("0", "0-17"), ("17.9", "0-17"), ("18", "18-39"), ("75", "75+"), ("200", None), ("?", None)],
)
def test_age_bands(age: str, band: str | None) -> None:
    assert age_band(age) == band


# Predictions


def test_predictions_have_one_line_an_image_in_order(
    tiny: Path, table: Path, chests: Path, tmp_path: Path
) -> None:
    out = tmp_path / "predictions.csv"
    done = run("--bundle", tiny, "--table", table, "--predictions", out)
    assert done.exit_code == 0, done.output
    with out.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert tuple(rows[0]) == COLUMNS
    assert rows[0] == dict.fromkeys(COLUMNS, "") | {
        "file": "cut.jpg",
        "label": "normal",
        "outcome": "rejected",
        "reason": "The file ends before the image is complete.",
        "patient_id": "cut",
    }
    assert [row["file"] for row in rows[1:]] == [str(path) for path in sorted(chests.rglob("*.jpeg"))]
    assert {row["outcome"] for row in rows[1:]} == {"scored"}
    assert {row["label"] for row in rows} == {"normal", "pneumonia"}
    for row in rows[1:]:
        parts = [float(row[name]) for name in ("p_normal", "p_bacterial", "p_viral")]
        assert sum(parts) == pytest.approx(1)
        assert float(row["p_pneumonia"]) == parts[1] + parts[2]
    assert [row["age_years"] for row in rows[1:]] == [str(10 + n) for n in range(48)]


def test_names_are_relative_and_never_a_formula(tiny: Path, chests: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(chests, tmp_path / "chests"))
    write_phantom(root / "NORMAL" / "=cmd.jpeg", 3, width=96)
    out, table = tmp_path / "predictions.csv", root / "NORMAL" / "table.csv"
    table.write_text("file,label\n=cmd.jpeg,normal\n")
    run("--bundle", tiny, "--table", table, "--predictions", out)
    assert out.read_text().splitlines()[1].startswith("'=cmd.jpeg,normal,scored")
    run("--bundle", tiny, "--data", root, "--predictions", out)
    names = [line.partition(",")[0] for line in out.read_text().splitlines()[1:]]
    assert all(name.startswith(("NORMAL/", "PNEUMONIA/")) for name in names)


# Text


def test_text_has_every_metric_with_its_interval(tiny: Path, table: Path) -> None:
    done = run("--bundle", tiny, "--table", table, "--prevalence", 0.2)
    assert done.exit_code == 0
    assert "48 images of 48 patients" in done.stdout
    assert "1 rejected (truncated 1)" in done.stdout
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    for name in METRICS[:-1]:
        assert lines[name].count("[") == 1
    assert "not defined" in lines["three_class_accuracy"]
    assert "true positive" in done.stdout
    assert "of 1,000 images, 20.0 % with pneumonia" in done.stdout
    assert "age 18-39, n = 22" in done.stdout
    assert "too few images" in done.stdout
    assert "Scoring: 49 of 49" in done.stderr


def test_one_class_leaves_metrics_undefined(tiny: Path, table: Path, tmp_path: Path) -> None:
    lines = table.read_text().splitlines()
    sick = tmp_path / "sick.csv"
    sick.write_text("\n".join([lines[0], *(line for line in lines if ",pneumonia," in line)]))
    document = json.loads(run("--bundle", tiny, "--table", sick, "--json").stdout)
    assert (document["auc"], document["auc_ci"], document["specificity"]) == (None, [None, None], None)
    assert document["recall"] is not None
    assert document["per_1000"][0]["normal"]["flagged"] is None
    done = run("--bundle", tiny, "--table", sick)
    assert done.exit_code == 0
    assert "not defined" in done.stdout
    assert "one class is missing" in done.stdout


# Wrong folders and exit codes


def test_wrong_folder_gets_a_suggestion(chests: Path, tmp_path: Path) -> None:
    root = tmp_path / "chest xray"
    for split in ("train", "val", "test"):
        shutil.copytree(chests, root / split)
    with pytest.raises(WrongInput) as said:
        list_images(root, None)
    assert str(said.value) == (
        f"{root} has no folder NORMAL and no folder PNEUMONIA, but test has both: "
        f"use --data '{root}/test' (also val, train)."
    )
    with pytest.raises(WrongInput, match="but test has both"):
        list_images(tmp_path, None)
    with pytest.raises(WrongInput, match=r"no folder PNEUMONIA.*use --data .*/test'\."):
        list_images(root / "test" / "NORMAL", None)


def test_missing_class_folder_is_named(chests: Path, tmp_path: Path) -> None:
    shutil.copytree(chests / "NORMAL", tmp_path / "NORMAL")
    with pytest.raises(
        WrongInput, match=r"has no folder PNEUMONIA; --data needs a folder that holds NORMAL and"
    ):
        list_images(tmp_path, None)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--bundle", "{tiny}", "--data", "{tmp}/nowhere"), "There is no folder {tmp}/nowhere"),
        (("--bundle", "{tmp}/nowhere", "--data", "{chests}"), "There is no model folder"),
        (("--bundle", "{tiny}", "--table", "{tmp}/no.csv"), "There is no table"),
        (("--bundle", "{tiny}"), "Give either --data or --table"),
        (("--bundle", "{tiny}", "--data", "{chests}", "--table", "x.csv"), "Give either"),
        (("--bundle", "{tiny}", "--data", "{chests}", "--report", "{tmp}/no/r.html"), "There is no folder"),
        (
            ("--bundle", "{tiny}", "--data", "{chests}", "--predictions", "{tmp}/no/p.csv"),
            "There is no folder",
        ),
        (("--bundle", "{tiny}", "--data", "{chests}", "--prevalence", "1"), "not in the range"),
    ],
)
def test_wrong_use_gets_a_sentence_and_exit_code_2(
    tiny: Path, chests: Path, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    names = {"tiny": tiny, "chests": chests, "tmp": tmp_path}
    done = run(*(argument.format(**names) for argument in arguments), "--json")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert click.unstyle(sentence.format(**names)) in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_no_scored_image_gives_exit_code_1(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jpeg").touch()
    table = tmp_path / "table.csv"
    table.write_text("file,label\nempty.jpeg,normal\n")
    done = run("--bundle", tiny, "--table", table, "--json")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert "None of the 1 images could be scored." in done.stderr
