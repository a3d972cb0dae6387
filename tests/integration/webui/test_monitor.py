"""The page of the monitor, and its files."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.filling import follow, known_reader
from tests.integration.webui.night import Night
from tests.monitored import everything, keep_days, some, yesterday
from tests.signing_in import bearer, sign_in
from worker.ledger import monitoring, thresholds
from worker.ledger.models import active_model
from worker.ledger.monitor_counts import NO_MODEL, Group
from worker.ledger.monitored_groups import Dimension
from worker.ledger.point_groups import Group as PointGroup
from worker.ledger.protocols import Protocol, Shown
from worker.ledger.roles import Role, Scope
from worker.ledger.session import ledger_time
from worker.ledger.tables import Model
from worker.monitor.counts import Counts, FindingCounts

ALERT = {
    "dimension": "machine",
    "group": "Agfa CR",
    "figure": "flagged",
    "sentence": "The share of flagged images rose.",
    "sure": "Chance alone would hardly show this.",
    "rose": True,
    "z": 8.0,
    "cause": "model",
    "since": "2026-11-10",
    "found": "2026-11-12",
    "before": {},
    "now": {},
    "also": [["age", "1-5"]],
    "attention": True,
}


@pytest.fixture
def model_id(night: Night) -> int:
    with night.ledger.reading() as session:
        model = active_model(session)
        assert model is not None
        return model.id


@pytest.fixture
def weeks(night: Night, model_id: int) -> Night:
    """Ten weeks of images from two machines, read by Ada; some were rejected."""
    last, ada = yesterday(night.ledger), known_reader(night.ledger, "Ada")
    counts = some(60, 20)
    read = Counts(scored=some(20, 20).scored, flagged=20, flagged_read=FindingCounts(15, 5))
    keep_days(
        night.ledger,
        {
            last - timedelta(days=number): {
                everything(model_id): counts,
                everything(NO_MODEL): Counts(rejected={"not_a_chest": 2}),
                Group(Dimension.MACHINE, "Agfa CR", model_id): some(50, 20),
                Group(Dimension.MACHINE, "unknown", model_id): some(10, 0),
                Group(Dimension.READER, str(ada), model_id): read,
            }
            for number in range(70)
        },
    )
    return night


def client(app: Flask, night: Night, *roles: Role) -> FlaskClient:
    return sign_in(app.test_client(), night.ledger, f"A {'-'.join(roles)}", roles)


def document(browser: FlaskClient, query: str = "") -> Any:
    return browser.get(f"/api/v1/monitor{query}").get_json()


def table(browser: FlaskClient, query: str) -> list[dict[str, str]]:
    text = browser.get(f"/api/v1/monitor?format=csv&{query}").text
    return list(csv.DictReader(io.StringIO(text)))


def test_page_without_any_day_says_so(client: FlaskClient) -> None:
    page = client.get("/monitor").text
    assert "No days were compared yet." in page
    assert "No day that is over has an image yet." in page


def test_page_shows_figures_with_intervals_and_diagrams(weeks: Night, client: FlaskClient) -> None:
    page = client.get("/monitor").text
    assert "<b>33.3 %</b>" in page
    assert "Positive predictive value" in page
    assert page.count('<svg class="chart"') >= 6
    assert "not a chest" in page
    assert 'id="table-of-groups"' not in page


def test_far_images_have_a_diagram_and_a_column_if_the_model_says_the_distance(
    night: Night, model_id: int, client: FlaskClient
) -> None:
    group = Group(Dimension.MACHINE, "Agfa CR", model_id)
    days = {everything(model_id): some(60, 20), group: some(60, 20)}
    keep_days(night.ledger, {yesterday(night.ledger): days})
    assert "training data" not in client.get("/monitor?by=machine").text
    days = {everything(model_id): some(60, 20, far=9), group: some(60, 20, far=9)}
    keep_days(night.ledger, {yesterday(night.ledger): days})
    page = client.get("/monitor?by=machine").text
    assert page.count('<th scope="col">Far</th>') == 2
    assert page.count('<td data-label="Far"><b>15.0 %</b>') == 2
    assert "<figcaption>Far from the training data</figcaption>" in page
    assert 'id="far"' in page


def test_groups_lead_to_their_own_figures(weeks: Night, client: FlaskClient) -> None:
    page = client.get("/monitor?by=machine").text
    assert 'href="/monitor?period=week&amp;by=machine&amp;group=Agfa+CR"' in page
    of_group = client.get("/monitor?by=machine&group=Agfa+CR&period=day").text
    assert "Images with machine <strong>Agfa CR</strong>" in of_group
    assert "<b>40.0 %</b>" in of_group


def test_change_stands_at_the_top(weeks: Night, client: FlaskClient) -> None:
    with weeks.ledger.transaction() as session:
        alerts = [ALERT, ALERT | {"attention": False, "sentence": "An earlier change."}]
        monitoring.keep_found(session, yesterday(weeks.ledger), alerts, ledger_time(session))
    page = client.get("/monitor").text
    assert page.index("The share of flagged images rose.") < page.index('id="scores"')
    assert "Earlier changes: 1" in page
    (row, _) = table(client, "table=changes")
    assert (row["group"], row["attention"]) == ("Agfa CR", "yes")


def test_nothing_changed_is_said_with_the_day(weeks: Night, client: FlaskClient) -> None:
    with weeks.ledger.transaction() as session:
        monitoring.keep_found(session, yesterday(weeks.ledger), [], ledger_time(session))
    assert f"Compared are all days up to {yesterday(weeks.ledger)}." in client.get("/monitor").text


def test_sensitivity_without_a_sample_is_not_known(night: Night, model_id: int, client: FlaskClient) -> None:
    counts = Counts(scored=some(60, 20).scored, flagged=20, clear=40, flagged_read=FindingCounts(15, 5))
    keep_days(night.ledger, {yesterday(night.ledger): {everything(model_id): counts}})
    page = client.get("/monitor").text
    assert "No clear image was drawn, so nobody knows what was missed." in page
    assert document(client)["periods"][0]["sensitivity"]["value"] is None


def test_readers_are_named_for_people_who_see_images(weeks: Night, app: Flask) -> None:
    with_images = client(app, weeks, Role.READER).get("/monitor?by=reader").text
    assert ">Ada</a>" in with_images
    auditor = client(app, weeks, Role.AUDITOR)
    without = auditor.get("/monitor?by=reader").text
    assert ">Ada</a>" not in without
    reader = known_reader(weeks.ledger, "Ada")
    assert f">reader {reader}</a>" in without
    assert [group["name"] for group in document(auditor, "?by=reader")["groups"]] == [f"reader {reader}"]
    one = client(app, weeks, Role.READER).get(f"/monitor?by=reader&group={reader}").text
    assert "Images whose reading in force is by <strong>Ada</strong>" in one
    assert 'id="table-of-scores"' not in one


def test_blind_protocol_withholds_days_from_people_and_not_from_programs(
    night: Night, model_id: int, app: Flask
) -> None:
    last = yesterday(night.ledger)
    keep_days(
        night.ledger,
        {
            last - timedelta(days=1): {everything(model_id): some(50, 20)},
            last: {everything(model_id): some(60, 20, unread=1)},
        },
    )
    follow(night.ledger, Protocol(Shown.AFTER_DECISION, Shown.AFTER_DECISION))
    reader = client(app, night, Role.READER)
    assert "Not shown: 1 day with images that wait for a reader." in reader.get("/monitor").text
    assert document(reader)["whole"]["images"] == 50
    token = bearer(night.ledger, {Scope.REPORTS_READ})
    assert app.test_client().get("/api/v1/monitor", headers=token).get_json()["whole"]["images"] == 110


@pytest.mark.parametrize(
    "query", ["period=year", "by=name", "until=soon", "model=x", f"group={'g' * 61}&by=age"]
)
def test_wrong_parameter_is_refused_with_a_sentence(client: FlaskClient, query: str) -> None:
    assert client.get(f"/monitor?{query}").status_code == 400
    answer = client.get(f"/api/v1/monitor?{query}")
    assert answer.status_code == 400
    assert answer.get_json()["error"]


@pytest.mark.parametrize("query", ["format=xml", "format=csv&table=all"])
def test_wrong_format_is_refused(client: FlaskClient, query: str) -> None:
    assert client.get(f"/api/v1/monitor?{query}").status_code == 400


def test_unknown_model_is_not_found(client: FlaskClient) -> None:
    page = client.get("/monitor?model=99")
    assert page.status_code == 404
    assert "There is no model 99." in page.text
    answer = client.get("/api/v1/monitor?model=99")
    assert answer.status_code == 404
    assert answer.get_json()["error"] == "There is no model 99."


def test_days_before_the_first_image_are_a_sentence(weeks: Night, client: FlaskClient) -> None:
    page = client.get("/monitor?until=1990-01-01").text
    assert "No day up to 1990-01-01 that is over has an image." in page
    assert "table-of-scores" not in page


def test_unknown_group_is_told_with_those_that_there_are(weeks: Night, client: FlaskClient) -> None:
    page = client.get("/monitor?by=machine&group=%3Cscript%3E")
    assert page.status_code == 404
    assert "There is no group &lt;script&gt; by machine; there are: Agfa CR, unknown." in page.text
    answer = client.get("/api/v1/monitor?by=machine&group=nowhere")
    assert answer.status_code == 404
    assert answer.get_json()["error"] == "There is no group nowhere by machine; there are: Agfa CR, unknown."


def test_period_that_is_not_over_is_marked(weeks: Night, client: FlaskClient) -> None:
    months = document(client, "?period=month")["periods"]
    incomplete = sum(not month["complete"] for month in months)
    # Seventy days are never whole months.
    assert 1 <= incomplete <= 2
    page = client.get("/monitor?period=month").text
    assert page.count(">incomplete<") == 2 * incomplete, "in both tables"
    assert "some days are before the first image" in page
    assert 'class="dot l0 open"' in page
    page = client.get("/monitor?period=day").text
    assert ">incomplete<" not in page
    assert 'class="dot l0 open"' not in page


def test_files_have_a_row_for_each_period_and_group(weeks: Night, client: FlaskClient) -> None:
    periods = table(client, "table=periods&period=day")
    assert len(periods) == 28
    assert periods[-1]["flagged_value"] == str(20 / 60)
    groups = table(client, "table=groups&by=machine")
    assert [row["key"] for row in groups] == ["Agfa CR", "unknown"]
    (reason,) = table(client, "table=rejected")
    assert reason["reason"] == "not_a_chest"


def test_a_model_can_be_chosen(weeks: Night, client: FlaskClient) -> None:
    weeks.score({}, model_sha256="6f" * 32)
    page = client.get("/monitor").text
    assert '<select name="model">' in page


def test_no_share_is_expected_while_groups_have_points(app: Flask, weeks: Night, model_id: int) -> None:
    browser = client(app, weeks, Role.AUDITOR)

    def put_in_force(group: PointGroup | None) -> None:
        with weeks.ledger.transaction() as session:
            model, at = session.get_one(Model, model_id), ledger_time(session)
            point = thresholds.find(session, model, "balanced")
            thresholds.change(session, model, point, who="os:0", why="a test", at=at, group=group)

    put_in_force(None)
    assert document(browser)["expected"]["flagged"] is not None
    assert "The dashed line is the share" in browser.get("/monitor").text
    put_in_force(PointGroup.parse("age=18-64"))
    expected = document(browser)["expected"]
    assert (expected["flagged"], expected["has_groups"]) == (None, True)
    page = browser.get("/monitor").text
    assert "The dashed line is the share" not in page
    assert "operating points of their own" in page
