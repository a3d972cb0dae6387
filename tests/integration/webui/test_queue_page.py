"""The page and the API of the reading queue: orders, filters, positions, what is new, times."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from tests.integration.webui.night import RUN, Night, phantoms, scored_night
from tests.signing_in import signed_in_client
from webui import create_app
from worker.ledger import image_search, queue_news, reading_queue
from worker.ledger.queue_filter import QueueFilter
from worker.ledger.states import ReviewState
from worker.ledger.tables import AccessRecord, Image

Ids = Callable[..., list[int]]
PROBABILITIES = (0.9974, 0.45, 0.62, 0.7, 0.99)


@pytest.fixture
def night(tmp_path: Path, phantom_folder: Path) -> Night:
    """Five scored images, one that was rejected, one that waits."""
    made = scored_night(tmp_path / "data", PROBABILITIES, phantom_folder, 96)
    made.accept(phantoms(tmp_path / "more", [60, 61], 96))
    made.score({}, rejected=[6])
    return made


@pytest.fixture
def client(night: Night) -> FlaskClient:
    return signed_in_client(create_app(night.settings), "Ada")


def listed(client: FlaskClient, query: str) -> list[int]:
    text = client.get(f"/review?{query}").text
    return [int(number) for number in re.findall(r'class="row" href="/review/(\d+)', text)]


def text_of(client: FlaskClient, address: str, element: str) -> str:
    """Return the text of the element with this id."""
    page = client.get(address).text
    found = re.search(rf'id="{element}"[^>]*>(.*?)</(?:p|span|nav|h1)>', page, re.DOTALL)
    return " ".join(unescape(re.sub("<[^>]*>", " ", found.group(1))).split()) if found else ""


def test_menu_title_heading_and_links_call_the_page_queue(client: FlaskClient) -> None:
    """One page has one name, which is that of the glossary."""
    page = client.get("/review").text
    menu = re.findall(r'<a href="/review"[^>]*>([^<]*)</a>', page)
    titles = re.findall(r"<title>(\w+)", page)
    assert (menu[0], *titles) == ("Queue", "Queue")
    assert text_of(client, "/review", "heading").split()[0] == "Queue"
    assert re.search(r'id="back" href="/review"[^>]*>Queue</a>', client.get("/review/1").text)
    assert 'href="/review">Go to the queue</a>' in client.get("/review/999").text


@pytest.mark.parametrize(
    ("query", "ids", "words"),
    [
        ("", [1, 5, 4, 3, 2], "The highest score first."),
        ("order=closest", [2, 3, 4, 5, 1], "Closest to the threshold 0.50 first"),
        ("order=oldest", [1, 2, 3, 4, 5], "The image that arrived first comes first."),
        ("state=any", [1, 5, 4, 3, 2, 6, 7], "Images without a score stand last"),
    ],
)
def test_each_order_is_explained(client: FlaskClient, query: str, ids: list[int], words: str) -> None:
    assert listed(client, query) == ids
    assert words in text_of(client, f"/review?{query}", "order")


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("state=rejected", [6]),
        ("state=waiting", [7]),
        ("state=without-score", [6, 7]),
        ("state=quarantined", []),
        ("reason=blank", [6]),
        ("low=0.62&high=0.99", [5, 4, 3]),
        ("source=import", [1, 5, 4, 3, 2]),
        ("source=dicom", []),
        ("age=unknown&sex=unknown&view=unknown", [1, 5, 4, 3, 2]),
        ("age=1-5", []),
        ("reader=1&reading=any", []),
        (f"run={RUN}&state=rejected", [6]),
    ],
)
def test_each_filter_stands_in_the_address(client: FlaskClient, query: str, ids: list[int]) -> None:
    assert listed(client, query) == ids
    rows = client.get(f"/api/v1/queue?{query}").json
    assert rows is not None
    assert [row["image"] for row in rows["images"]] == ids
    assert (rows["total"], rows["total_exact"]) == (len(ids), True)


def test_scores_read_on_their_side_of_the_threshold_beside_them(client: FlaskClient, night: Night) -> None:
    with night.ledger.transaction() as session:
        session.get_one(Image, 2).p_pneumonia = 0.4996
    page = client.get("/review?order=closest").text
    assert "Closest to the threshold 0.5000 first" in " ".join(page.split()), (
        "0.4996 reads 0.500 with three decimals"
    )
    assert "</span> 0.4996</span>" in page
    assert "</span> 0.50</span>" in client.get("/review").text, "no limit stands beside it"


def test_images_without_a_score_are_never_hidden(client: FlaskClient) -> None:
    assert text_of(client, "/review", "beside") == "1 rejected 1 pending"
    assert "The image is blank" in client.get("/review?state=rejected").text


def test_scores_near_one_can_be_told_apart(client: FlaskClient) -> None:
    page = client.get("/review").text
    assert "&gt;0.99" not in page
    assert "0.9974" in page


def test_position_and_both_neighbouring_pages(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    real = reading_queue.queue
    monkeypatch.setattr(reading_queue, "queue", lambda *given, **named: real(*given, **named, size=2))
    address, seen = "/review?order=closest&verdict=any", []
    for position in ("1 to 2 of 5", "3 to 4 of 5", "5 to 5 of 5"):
        assert text_of(client, address, "position") == position
        seen.append(address)
        following = re.search(r'rel="next" href="([^"]*)"', client.get(address).text)
        address = unescape(following.group(1)) if following else ""
    assert not address
    before = re.search(r'rel="prev" href="([^"]*)"', client.get(seen[2]).text)
    assert before
    assert text_of(client, unescape(before.group(1)), "position") == "3 to 4 of 5"
    document = client.get(f"/api/v1/queue{seen[1].removeprefix('/review')}").json
    assert document is not None
    assert (document["first"], document["searched"]) == (3, None)
    assert document["previous"]
    assert document["next"]


def test_next_image_follows_order_and_filter(client: FlaskClient) -> None:
    answer = client.post("/review/3/decide?order=closest&low=0.6", data={"finding": "signs_of_pneumonia"})
    assert answer.headers["Location"] == "/review/4?order=closest&low=0.6"


def test_new_images_are_counted_and_an_empty_page_fills_itself(client: FlaskClient, night: Night) -> None:
    with night.ledger.reading() as session:
        mark = queue_news.mark(session)
    assert client.get(f"/review/news?since={mark}&shown=5").text.strip() == ""
    night.score({7: 0.8})
    news = client.get(f"/review/news?since={mark}&shown=5&order=closest")
    assert '<a href="/review?order=closest">1 new, show</a>' in news.text
    assert "HX-Trigger" not in news.headers
    assert client.get(f"/review/news?since={mark}&shown=5&verdict=clear").text.strip() == ""
    filled = client.get(f"/review/news?since={mark}&shown=0&empty=1")
    assert filled.headers["HX-Trigger"] == "fill"
    assert "1 new" in client.get("/review/news?since=0&shown=0&state=rejected").text


def test_asking_for_news_is_no_search(client: FlaskClient, night: Night) -> None:
    def searches() -> list[str]:
        with night.ledger.reading() as session:
            return list(session.scalars(select(AccessRecord.code).where(AccessRecord.kind == "search")))

    client.get("/review/news?since=0&shown=0")
    assert searches() == []
    client.get("/review?state=any&low=0.5&sex=F&reading=any")
    assert searches() == ["any/any/low,sex"]


def test_one_number_of_images_to_read(client: FlaskClient, night: Night) -> None:
    client.get("/review")
    with night.ledger.transaction() as session:
        session.get_one(Image, 1).review_state = ReviewState.READ
    page = client.get("/review").text
    assert "<b>4</b> to read" in page
    assert text_of(client, "/review", "heading") == "Queue 4"
    with night.ledger.reading() as session:
        assert reading_queue.count(session, QueueFilter()) == 4


def test_overdue_case_comes_first_and_says_so(night: Night, tmp_path: Path) -> None:
    late = create_app(night.settings.model_copy(update={"read_within_s": 0.001}))
    page = signed_in_client(late, "Ada")
    assert listed(page, "") == [1, 2, 3, 4, 5], "by their arrival"
    text = page.get("/review").text
    assert text.count("over the time limit: unread for") == 5
    assert "come first." in text_of(page, "/review", "order")


def test_long_name_has_the_whole_as_tooltip(app: Flask, night: Night, tmp_path: Path) -> None:
    name = f"{'long ' * 30}.jpg"
    night.accept(phantoms(tmp_path / "long", [70], 96), names=[name])
    night.score({8: 0.7})
    assert f'title="{name}"' in signed_in_client(app, "Ada").get("/review").text


def found(client: FlaskClient, text: str, **more: object) -> list[int]:
    answer = client.post("/review/search", data={"text": text, **more})
    assert answer.status_code == 200
    return [int(number) for number in re.findall(r'class="row" href="/review/(\d+)', answer.text)]


def test_search_finds_names_and_numbers(client: FlaskClient, night: Night, tmp_path: Path) -> None:
    night.accept(phantoms(tmp_path / "long", [70], 96), names=["50% of DOE^Jane.jpg"])
    assert found(client, "phantom") == [7, 6, 5, 4, 3, 2, 1]
    assert found(client, "doe^jane") == [8]
    assert found(client, "0% of") == [8]
    assert found(client, "%") == [8], "not a pattern"
    assert found(client, "3") == [3, 4], "image 3, and the name phantom-003.jpg"
    assert found(client, "nobody") == []
    assert "Nothing found" in client.post("/review/search", data={"text": "nobody"}).text


def test_search_goes_on_with_older_images(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_search, "NAMES", 3)
    first = client.post("/review/search", data={"text": "phantom-00"}).text
    below = re.search(r'name="below" value="(\d+)"', first)
    assert below
    assert found(client, "phantom-00") == [5]
    assert found(client, "phantom-00", below=below.group(1)) == [4, 3, 2]


@pytest.mark.parametrize("form", [{}, {"text": " "}, {"text": "x" * 201}, {"text": "x", "below": "-1"}])
def test_search_for_nothing_is_refused(client: FlaskClient, form: dict[str, str]) -> None:
    assert client.post("/review/search", data=form).status_code == 400


def test_search_is_on_record_without_its_text(
    client: FlaskClient, night: Night, caplog: pytest.LogCaptureFixture
) -> None:
    answer = client.post("/review/search", data={"text": "Doejane"})
    assert "Doejane" not in str(answer.headers) + caplog.text
    with night.ledger.reading() as session:
        (row,) = session.scalars(select(AccessRecord).where(AccessRecord.kind == "search"))
    assert (row.code, row.reason_seal, row.image_id) == ("search", None, None)
    assert client.get("/review/search?text=Doejane").status_code == 405
