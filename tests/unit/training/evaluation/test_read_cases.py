"""The workbench of thresholds and `nightread evaluate` say the same of a site's read cases, to the last digit."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from sqlalchemy import update

from tests.filling import known_reader, make_patients
from tests.integration.webui.night import Night, open_night
from tests.signing_in import sign_in
from training import cli
from training.data.radiographs import list_folders, list_table
from training.errors import WrongInput
from training.evaluation.scoring import score_images
from webui import create_app
from worker.inference.bundle import load_bundle
from worker.ledger import review
from worker.ledger.findings import Finding, Statement
from worker.ledger.session import ledger_time
from worker.ledger.states import ReviewState
from worker.ledger.tables import Image
from worker.store import open_store

PREVALENCE = 0.07


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    made = open_night(tmp_path / "data")
    yield made
    made.ledger.close()


def read_night(night: Night, tiny: Path, chests: Path, *, drawn_share: int) -> FlaskClient:
    """Accept the chests, score them with the network, call a third of them clear, and read all but the clear ones.

    One in `drawn_share` clear images is drawn and read.
    """
    scored = score_images(load_bundle(tiny), list_folders(chests))
    accepted = night.accept([radiograph.path for radiograph in scored.radiographs])
    ids = [item.image_id for item in accepted]
    scores = dict(zip(ids, map(float, scored.scores.p_pneumonia), strict=True))
    night.score(scores)
    make_patients(night.ledger)
    clear = sorted(ids, key=scores.__getitem__)[: len(ids) // 3]
    with night.ledger.transaction() as session:
        set_verdict = update(Image).values(verdict="flagged", review_state=ReviewState.UNREAD)
        session.execute(set_verdict.where(Image.id.in_(ids)))
        session.execute(update(Image).where(Image.id.in_(clear)).values(verdict="clear"))
        drawn = update(Image).where(Image.id.in_(clear[::drawn_share]))
        session.execute(drawn.values(review_state=ReviewState.DRAWN, drawn_rank=0.5))
    signs = {
        image_id: radiograph.pneumonia for image_id, radiograph in zip(ids, scored.radiographs, strict=True)
    }
    for image_id in [*(set(ids) - set(clear)), *clear[::drawn_share]]:
        said = Statement(Finding.SIGNS if signs[image_id] else Finding.NO_SIGNS)
        reader_id = known_reader(night.ledger)
        with night.ledger.transaction() as session:
            review.decide(session, image_id, reader_id=reader_id, statement=said, at=ledger_time(session))
    return sign_in(create_app(night.settings).test_client(), night.ledger)


def evaluated(night: Night, client: FlaskClient, tiny: Path) -> tuple[Any, dict[str, dict[str, str]]]:
    """Return the document of `evaluate` about the downloaded table, and what the workbench says at the same point."""
    table = open_store(night.settings).root / "cases.csv"
    table.write_bytes(client.get("/thresholds/workbench/cases.csv").data)
    answer = CliRunner().invoke(cli.evaluate, ["--bundle", str(tiny), "--table", str(table), "--json"])
    assert answer.exit_code == 0, answer.output
    document = json.loads(answer.stdout)
    point = {name: document["operating_point"][name] for name in ("threshold", "band_low", "band_high")}
    text = client.get(
        "/thresholds/workbench/figures.csv", query_string={**point, "prevalence": 100 * PREVALENCE}
    ).text
    rows = [row for row in csv.DictReader(io.StringIO(text)) if row["of"] == "site"]
    return document, {row["figure"]: row for row in rows}


def test_weighted_figures_are_the_same(night: Night, tiny: Path, chests: Path) -> None:
    client = read_night(night, tiny, chests, drawn_share=3)
    document, figures = evaluated(night, client, tiny)
    weighted = document["weighted"]
    assert weighted["stands_for"] == pytest.approx(48)
    assert document["n"] == 38
    assert weighted["recall"] == float(figures["sensitivity"]["value"])
    assert weighted["specificity"] == float(figures["specificity"]["value"])
    assert weighted["recall"] != document["recall"], "the weights say something"
    found, spared = weighted["recall"], weighted["specificity"]
    ppv = PREVALENCE * found / (PREVALENCE * found + (1 - PREVALENCE) * (1 - spared))
    assert float(figures["ppv"]["value"]) == pytest.approx(ppv, rel=1e-12)
    assert weighted["recall_ci"][0] <= weighted["recall"] <= weighted["recall_ci"][1]


def test_figures_without_weights_are_the_same_if_every_image_is_read(
    night: Night, tiny: Path, chests: Path
) -> None:
    client = read_night(night, tiny, chests, drawn_share=1)
    document, figures = evaluated(night, client, tiny)
    assert document["n"] == 48
    for name, figure in (("recall", "sensitivity"), ("specificity", "specificity")):
        assert document[name] == document["weighted"][name] == float(figures[figure]["value"])


def test_text_says_what_the_weighted_images_stand_for(tiny: Path, chests: Path, tmp_path: Path) -> None:
    table = tmp_path / "weights.csv"
    images = list_folders(chests)
    with table.open("w", newline="") as lines:
        rows = csv.writer(lines)
        rows.writerow(["file", "label", "weight"])
        for image in images:
            rows.writerow([image.path, *(("pneumonia", 2) if image.pneumonia else ("normal", 1.5))])
    report = tmp_path / "report.html"
    arguments = ["--bundle", str(tiny), "--table", str(table), "--report", str(report)]
    answer = CliRunner().invoke(cli.evaluate, arguments)
    assert "these images stand for 85" in answer.stdout
    assert "With the weights of the table, these images stand for 85." in report.read_text(encoding="utf-8")


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf", "many", ""])
def test_weight_that_is_no_number_above_0_is_refused(chests: Path, tmp_path: Path, weight: str) -> None:
    image = next((chests / "NORMAL").iterdir())
    table = tmp_path / "weights.csv"
    table.write_text(f"file,label,weight\n{image},normal,{weight}\n")
    with pytest.raises(WrongInput, match="A weight must be a number above 0"):
        list_table(table)
