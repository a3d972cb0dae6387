"""The reading room against the whole program: a real worker scores, and people read in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from PIL import Image as Picture
from playwright.sync_api import Locator, Page, expect
from sqlalchemy import select

from tests.browser.serving import press, sign_in, wait_until_shown
from tests.browser.test_accessibility import problems
from tests.browser.test_offline import OFFLINE
from tests.conftest import Stack, stack_factory, wait_for
from tests.filling import assert_consistent, follow
from worker.ledger import audit, review
from worker.ledger.protocols import Protocol, Shown
from worker.ledger.roles import Role
from worker.ledger.tables import Image, Receipt, Review
from worker.phantom import write_phantom

pytestmark = [pytest.mark.browser, pytest.mark.stack]

OpenPage = Callable[..., Page]
READER = (Role.READER,)
# Nothing is drawn, so that the queue is the same each time.
PLAIN = Protocol(sample_share=0)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole program, which these tests share."""
    with stack_factory(tmp_path_factory.mktemp("room")) as make:
        stack = make()
        stack.start()
        follow(stack.ledger, PLAIN)
        yield stack
        assert_consistent(stack.ledger)
        with stack.ledger.reading() as session:
            assert audit.verify(session).ok


@pytest.fixture
def arrive(room: Stack, tmp_path: Path) -> Callable[[Sequence[int]], list[int]]:
    """A function that drops phantoms into the inbox and returns the ids of their images, once they are done."""

    def drop(seeds: Sequence[int]) -> list[int]:
        names = [f"case-{seed:03d}.jpg" for seed in seeds]
        before = room.file_counts().received
        for seed, name in zip(seeds, names, strict=True):
            room.drop(name, write_phantom(tmp_path / name, seed, width=640).read_bytes())
        room.wait_until_done(before + len(names))
        with room.ledger.reading() as session:
            found = select(Image.id).join(Receipt).where(Receipt.original_name.in_(names)).order_by(Image.id)
            return list(session.scalars(found))

    return drop


def standing(room: Stack, image_id: int) -> Review | None:
    """Return the reading of an image that is in force, with its reader."""
    with room.ledger.reading() as session:
        reading = review.standing_reviews(session, [session.get_one(Image, image_id)]).get(image_id)
        if reading:
            _ = reading.user.name
        return reading


def finding(room: Stack, image_id: int) -> str | None:
    reading = standing(room, image_id)
    return reading.finding if reading else None


def verdict(room: Stack, image_id: int) -> str:
    with room.ledger.reading() as session:
        return str(session.get_one(Image, image_id).verdict)


def reader(
    open_page: OpenPage, room: Stack, name: str, roles: Sequence[Role] = READER, **options: object
) -> Page:
    page = open_page(**options)
    sign_in(page, room, name, roles)
    return page


def open_image(page: Page, room: Stack, image_id: int) -> None:
    page.goto(f"{room.url}/review/{image_id}?verdict=any")
    wait_until_shown(page)


def opened_image(page: Page) -> int:
    return int(re.findall(r"/review/(\d+)", page.url)[0])


def go_on(page: Page, key: str) -> None:
    """Press a key that ends the reading of an image, and wait until the next page says what was recorded."""
    before = page.url
    press(page, key)
    expect(page).not_to_have_url(before)
    expect(page.locator(".message.reading")).to_contain_text("Recorded")


def read_with_a_note(page: Page) -> None:
    """Choose a finding, write a note and send both."""
    before = page.url
    press(page, "Shift+Digit6")
    page.keyboard.type("compare with the film of March")
    page.keyboard.press("Control+Enter")
    expect(page).not_to_have_url(before)


def read_and_take_back(page: Page) -> None:
    """Read the image, take the reading back and read it again."""
    go_on(page, "1")
    wait_until_shown(page)
    press(page, "u")
    expect(page.locator(".message.undone")).to_contain_text("Taken back: signs of pneumonia")
    wait_until_shown(page)
    go_on(page, "2")


def read_and_change(page: Page) -> None:
    """Read the image, look at it again, change the reading with a reason and go on."""
    go_on(page, "1")
    wait_until_shown(page)
    press(page, "k")
    expect(page.locator("#standing")).to_contain_text("You read this image: signs of pneumonia")
    wait_until_shown(page)
    press(page, "a")
    page.keyboard.type("a rib, not an opacity")
    press(page, "Escape")
    press(page, "2")
    press(page, "a")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".message.reading")).to_contain_text("Changed: no signs")
    wait_until_shown(page)
    before = page.url
    press(page, "j")
    expect(page).not_to_have_url(before)


def test_morning_of_thirty_images_by_keyboard_alone(
    room: Stack, open_page: OpenPage, arrive: Callable[[Sequence[int]], list[int]]
) -> None:
    image_ids = arrive(range(1, 31))
    page = reader(open_page, room, "Ada Night", bypass_csp=True)
    page.goto(f"{room.url}/review?verdict=any&reading=any")
    expect(page.locator(".row")).to_have_count(30)
    press(page, "j")
    expect(page.locator(".row").first).to_be_focused()
    press(page, "Enter")
    expect(page.locator("#decide")).to_be_visible()
    ways = {3: read_with_a_note, 7: read_and_take_back, 11: read_and_change}
    opened = []
    for number in range(30):
        wait_until_shown(page)
        opened.append(opened_image(page))
        ways.get(number, lambda page, key=str(1 + number % 5): go_on(page, key))(page)
    expect(page).to_have_url(re.compile(r"/review/summary"))
    expect(page.locator("#findings")).to_contain_text("30")
    assert problems(page) == []
    assert sorted(opened) == sorted(image_ids)
    readings = {image_id: standing(room, image_id) for image_id in image_ids}
    assert all(reading and reading.user.name == "Ada Night" for reading in readings.values())
    assert all(reading and reading.open_ms and reading.score_shown for reading in readings.values())
    assert [finding(room, opened[number]) for number in (3, 7, 11)] == [
        "second_opinion",
        "no_signs",
        "no_signs",
    ]
    with room.ledger.reading() as session:
        kinds = [row.action for row in session.scalars(select(Review).where(Review.image_id == opened[11]))]
    assert kinds == ["read", "amend"]


def test_blind_reader_decides_against_the_model(
    room: Stack, open_page: OpenPage, arrive: Callable[[Sequence[int]], list[int]]
) -> None:
    image_id = next(number for number in arrive(range(101, 106)) if verdict(room, number) == "flagged")
    follow(
        room.ledger, Protocol(score=Shown.AFTER_DECISION, activation_map=Shown.AFTER_DECISION, sample_share=0)
    )
    page = reader(open_page, room, "Ben Night")
    open_image(page, room, image_id)
    expect(page.locator("#hidden-score")).to_be_visible()
    expect(page.locator(".scale, .chip.flagged, #show-map")).to_have_count(0)
    press(page, "2")
    expect(page.locator(".message.reading")).to_contain_text("Now you see the score")
    expect(page.locator(".chip.flagged")).to_be_visible()
    reading = standing(room, image_id)
    assert reading is not None
    assert (reading.finding, reading.score_shown, reading.map_shown) == ("no_signs", False, False)
    follow(room.ledger, PLAIN)


def test_two_readers_disagree_and_an_adjudicator_decides(
    room: Stack, open_page: OpenPage, arrive: Callable[[Sequence[int]], list[int]]
) -> None:
    (image_id,) = arrive([201])
    follow(room.ledger, Protocol(readers=2, sample_share=0))
    for name, key in (("Ada Night", "1"), ("Ben Night", "2")):
        page = reader(open_page, room, name)
        open_image(page, room, image_id)
        expect(page.locator("#standing, .history")).to_have_count(0)
        go_on(page, key)
    chair = reader(open_page, room, "Chen Night", (Role.ADJUDICATOR,))
    open_image(chair, room, image_id)
    expect(chair.locator("#adjudication")).to_be_visible()
    expect(chair.locator(".history")).to_contain_text("Ada Night")
    go_on(chair, "1")
    reading = standing(room, image_id)
    assert reading is not None
    assert (reading.user.name, reading.finding) == ("Chen Night", "signs_of_pneumonia")
    follow(room.ledger, PLAIN)


def test_two_readers_contend_and_one_takes_over(
    room: Stack, open_page: OpenPage, arrive: Callable[[Sequence[int]], list[int]]
) -> None:
    (image_id,) = arrive([301])
    # The former holder's reading is refused.
    first = reader(open_page, room, "Ada Night", expected=("409 (CONFLICT)",))
    second = reader(open_page, room, "Ben Night")
    with first.expect_response("**/claim*"):
        open_image(first, room, image_id)
    open_image(second, room, image_id)
    expect(second.locator(".claimed")).to_contain_text("Ada Night has claimed this image")
    press(second, "1")
    expect(second.locator("#hint")).to_contain_text("Ada Night has claimed this image")
    second.get_by_role("button", name="Take over").click()
    expect(second.locator(".message.claim")).to_contain_text("taken this image over from Ada Night")
    press(first, "1")
    expect(first.locator(".decision")).to_contain_text("Ben Night")
    wait_until_shown(second)
    go_on(second, "2")
    reading = standing(room, image_id)
    assert reading is not None
    assert (reading.user.name, reading.finding) == ("Ben Night", "no_signs")


def test_offline_minute_loses_nothing(
    room: Stack, open_page: OpenPage, arrive: Callable[[Sequence[int]], list[int]]
) -> None:
    arrive([401, 402])
    page = reader(open_page, room, "Ada Night", expected=OFFLINE)
    page.goto(f"{room.url}/review?verdict=any")
    page.locator(".row").first.click()
    wait_until_shown(page)
    image_id = opened_image(page)
    press(page, "n")
    page.keyboard.type("left base")
    press(page, "Escape")
    page.context.set_offline(True)
    press(page, "1")
    expect(page.locator("#unsent")).to_contain_text("Not sent yet: signs of pneumonia")
    press(page, "j")
    expect(page.locator("#stayed")).to_contain_text("this page stays")
    assert finding(room, image_id) is None
    page.context.set_offline(False)
    wait_for(lambda: finding(room, image_id) == "signs_of_pneumonia")
    reading = standing(room, image_id)
    assert reading is not None
    assert reading.note == "left base"


def test_rejected_image_is_read_without_a_score(room: Stack, open_page: OpenPage, tmp_path: Path) -> None:
    upright = write_phantom(tmp_path / "phantom.jpg", 501, width=640)
    turned = tmp_path / "turned.jpg"
    with Picture.open(upright) as picture:
        picture.rotate(180).save(turned, quality=95)
    received = room.file_counts().received
    room.drop("turned.jpg", turned.read_bytes())
    assert room.wait_until_done(received + 1).rejected
    page = reader(open_page, room, "Ada Night")
    page.goto(f"{room.url}/rejected")
    expect(page.locator("main")).to_contain_text("The image seems to be upside down.")
    page.get_by_role("link", name=re.compile("Read")).first.click()
    wait_until_shown(page)
    expect(page.locator("#without-score")).to_be_visible()
    press(page, "2")
    expect(page.locator(".message.reading")).to_contain_text("Recorded: no signs, turned.jpg")


def test_folder_with_broken_files_is_uploaded(room: Stack, open_page: OpenPage, tmp_path: Path) -> None:
    folder = tmp_path / "night"
    (folder / "ward").mkdir(parents=True)
    whole = write_phantom(folder / "one.jpg", 601, width=640).read_bytes()
    write_phantom(folder / "ward" / "two.jpg", 602, width=640)
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.jpg").write_bytes(b"not a picture")
    (folder / "empty.jpg").write_bytes(b"")
    page = reader(open_page, room, "Ada Night")
    page.goto(f"{room.url}/upload")
    page.locator("#folder").set_input_files(folder)
    expect(page.locator("#summary")).to_contain_text("5 of 5 files done")
    expect(page.locator("#summary")).to_contain_text("3 rejected")
    sentences = page.locator(".arrival", has_text="rejected")
    expect(sentences).to_have_count(3)
    assert len(set(sentences.all_inner_texts())) == 3


def tap(target: Locator) -> None:
    target.scroll_into_view_if_needed()
    target.tap()


def test_tablet_is_read_by_touch(
    room: Stack, open_page: OpenPage, arrive: Callable[[Sequence[int]], list[int]]
) -> None:
    first, second = arrive([701, 702])
    page = reader(open_page, room, "Ada Night", viewport={"width": 820, "height": 1180}, has_touch=True)
    page.goto(f"{room.url}/review?verdict=any")
    tap(page.locator(f".row[href*='/review/{first}?']"))
    wait_until_shown(page)
    tap(page.locator("label", has_text="Invert"))
    expect(page.locator("#picture")).to_have_css("filter", "invert(1)")
    tap(page.locator("#decide [data-key='1']"))
    expect(page.locator(".message.reading")).to_contain_text("Recorded: signs of pneumonia, case-701.jpg")
    assert finding(room, first) == "signs_of_pneumonia"
    open_image(page, room, second)
    tap(page.locator("#decide [data-key='3']"))
    expect(page.locator(".message.reading")).to_contain_text("case-702.jpg")
    assert finding(room, second) == "cannot_be_judged"
