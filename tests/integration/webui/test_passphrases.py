"""Signing in with a name and a passphrase, its limits, and setting, changing and resetting passphrases."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import argon2
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from tests.integration.webui.night import Night, open_night
from tests.signing_in import Browser, person, sign_in
from webui import create_app
from webui.access import devices, sign_in_limits
from webui.access.sign_in_limits import Try
from worker.ledger import actors, audit, passphrases, sign_ins
from worker.ledger.comparison import compare
from worker.ledger.roles import Role
from worker.ledger.session import ledger_time
from worker.ledger.tables import AuditEvent, User
from worker.passphrases import hashing, rules

OWN, OTHER = "seven brown cows sing", "a lantern under wet leaves"
WRONG = "This name and this passphrase do not belong together."


@pytest.fixture(scope="module")
def own_hash() -> str:
    return hashing.hashed(OWN)


@pytest.fixture(autouse=True)
def _ada(request: pytest.FixtureRequest, own_hash: str) -> None:
    """Ada is a reader with a passphrase."""
    if "night" in request.fixturenames:
        give_passphrase(request.getfixturevalue("night"), "Ada", own_hash)


def give_passphrase(night: Night, name: str, passphrase_hash: str) -> int:
    user_id = person(night.ledger, name)
    with night.ledger.transaction() as session:
        user, at = session.get_one(User, user_id), ledger_time(session)
        passphrases.set_hash(session, user, passphrase_hash, actor=actors.PROGRAM, at=at)
    return user_id


def try_in(browser: FlaskClient, name: str = "Ada", passphrase: str = OWN, **form: str) -> TestResponse:
    return browser.post("/sign-in", data={"name": name, "passphrase": passphrase, **form})


class Hasher:
    """Stands for the hasher of passphrases, and finds that each one is right."""

    def __init__(self, verify: Callable[[str, bytes], None]) -> None:
        self.verify = verify

    def check_needs_rehash(self, _stored: str) -> bool:
        return False


def is_signed_in(browser: FlaskClient) -> bool:
    return browser.get("/account").status_code == 200


def change(browser: FlaskClient, new: str, present: str = "", again: str | None = None) -> TestResponse:
    form = {"present": present, "new": new, "again": new if again is None else again}
    return browser.post("/account/passphrase", data=form)


def events(night: Night, kind: str) -> list[AuditEvent]:
    with night.ledger.reading() as session:
        return list(session.scalars(select(AuditEvent).where(AuditEvent.kind == kind)))


def user(night: Night, name: str = "Ada") -> User:
    with night.ledger.reading() as session:
        return session.scalars(select(User).where(User.name == name)).one()


def assert_whole(night: Night) -> None:
    with night.ledger.reading() as session:
        assert audit.verify(session).ok
        assert compare(session).mismatches == []


def test_name_and_passphrase_sign_a_browser_in(app: Flask, night: Night) -> None:
    browser = app.test_client()
    answer = try_in(browser, next="/review?run=1")
    assert (answer.status_code, answer.location) == (303, "/review?run=1")
    assert is_signed_in(browser)
    assert '"method":"passphrase"' in events(night, "signed_in")[-1].payload
    assert_whole(night)


@pytest.mark.parametrize("name", [" ada ", "ADA", "Ada\x00"])
def test_name_is_found_as_people_type_it(app: Flask, name: str) -> None:
    assert try_in(app.test_client(), name).status_code == 303


def test_page_works_without_javascript_and_with_password_managers(app: Flask) -> None:
    page = app.test_client().get("/sign-in?next=/runs").text
    assert '<form class="stacked" method="post" action="/sign-in">' in page
    assert 'name="next" value="/runs"' in page
    assert re.search(r'name="name"[^>]* autocomplete="username"', page)
    assert re.search(r'name="passphrase" type="password"[^>]* autocomplete="current-password"', page)


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example"])
def test_signing_in_leads_to_no_other_site(app: Flask, target: str) -> None:
    assert try_in(app.test_client(), next=target).location == "/"


def test_answer_does_not_tell_why(app: Flask, night: Night, own_hash: str) -> None:
    give_passphrase(night, "Disabled", own_hash)
    person(night.ledger, "Linked")
    with night.ledger.transaction() as session:
        row = session.scalars(select(User).where(User.name == "Disabled")).one()
        row.disabled_at = ledger_time(session)
    pages = []
    for name, passphrase in [
        ("Ada", OTHER),
        ("Nobody", OWN),
        ("Linked", OWN),
        ("Disabled", OWN),
        ("", ""),
    ]:
        answer = try_in(app.test_client(), name, passphrase)
        assert answer.status_code == 400
        assert WRONG in answer.text
        assert "Set-Cookie" not in answer.headers
        pages.append(answer.text.replace(f'value="{name}"', ""))
    assert len(set(pages)) == 1
    assert [event.payload for event in events(night, "sign_in_failed")] == [
        f'{{"method":"passphrase","reason":"{reason}"}}'
        for reason in ("wrong_passphrase", "unknown_name", "no_passphrase", "disabled", "unknown_name")
    ]


def test_trail_holds_nothing_that_was_typed(app: Flask, night: Night) -> None:
    try_in(app.test_client(), "my secret passphrase in the wrong field", "typed-passphrase")
    try_in(app.test_client(), "Ada", "typed-passphrase")
    unknown, known = events(night, "sign_in_failed")
    assert (unknown.actor, unknown.subject) == ("anonymous", "anonymous")
    assert (known.actor, known.subject) == ("anonymous", f"user:{user(night).id}")
    everything = " ".join(f"{event.subject} {event.payload}" for event in (unknown, known))
    assert "secret" not in everything
    assert "typed" not in everything


@pytest.mark.parametrize("name", ["Ada", "Nobody"])
def test_every_try_compares_one_hash(app: Flask, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    compared: list[str] = []
    monkeypatch.setattr(hashing, "_HASHER", Hasher(lambda stored, _: compared.append(stored)))
    try_in(app.test_client(), name, "x" * 5_000)
    try_in(app.test_client(), name, OWN)
    assert len(compared) == 2


def test_person_who_is_disabled_meanwhile_is_not_signed_in(
    app: Flask, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disable_first(_stored: str, _passphrase: bytes) -> None:
        with night.ledger.transaction() as session:
            session.execute(update(User).values(disabled_at=ledger_time(session)))

    monkeypatch.setattr(hashing, "_HASHER", Hasher(disable_first))
    browser = app.test_client()
    assert try_in(browser).status_code == 400
    assert not is_signed_in(browser)


def test_hash_of_an_earlier_version_is_made_anew(app: Flask, night: Night) -> None:
    weak = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(OWN)
    give_passphrase(night, "Ada", weak)
    assert try_in(app.test_client()).status_code == 303
    assert not hashing.outdated(user(night).passphrase_hash or "")
    assert try_in(app.test_client()).status_code == 303
    assert len(events(night, "passphrase_rehashed")) == 1
    assert_whole(night)


def test_too_many_at_once_are_asked_to_wait(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_place(*_: object) -> bool:
        raise hashing.TooManyAtOnce

    monkeypatch.setattr(hashing, "matches", no_place)
    answer = try_in(app.test_client())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "Too many people sign in at this moment." in answer.text


@pytest.mark.parametrize("name", ["Ada", "Nobody"])
def test_sixth_try_in_a_minute_must_wait(app: Flask, name: str) -> None:
    answers = [try_in(app.test_client(), name, OTHER) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [400] * 5 + [429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert "There were too many tries. Try again in " in answers[-1].text


def test_right_passphrase_of_an_attacked_account_must_wait(app: Flask) -> None:
    for _ in range(5):
        try_in(app.test_client(), "Ada", OTHER)
    assert try_in(app.test_client()).status_code == 429


def test_refused_try_compares_no_hash_and_adds_no_event(app: Flask, night: Night) -> None:
    for _ in range(50):
        try_in(app.test_client(), "Ada", OTHER)
    assert len(events(night, "sign_in_failed")) == 5


def test_attack_keeps_nobody_from_signing_in_where_they_did_before(app: Flask) -> None:
    browser = app.test_client()
    try_in(browser)
    browser.post("/sign-out")
    assert not is_signed_in(browser)
    for number in range(60):
        try_in(app.test_client(), "Ada", OTHER)
        try_in(app.test_client(), f"Somebody {number}", OTHER)
    assert try_in(app.test_client()).status_code == 429
    assert try_in(browser).status_code == 303


def use_up_the_limit_of_all(app: Flask) -> None:
    """Try many names from many addresses, until the limit of all tries together is reached."""
    with app.app_context():
        limits = sign_in_limits.current()
    waits = [limits.take(Try(f"name:{number}", f"198.51.100.{number % 100}")) for number in range(200)]
    assert waits.count(0) < 200


def test_attack_on_all_keeps_out_new_browsers_only(app: Flask, night: Night, own_hash: str) -> None:
    give_passphrase(night, "Ben", own_hash)
    known, signed_in, linked = app.test_client(), app.test_client(), app.test_client()
    for browser in (known, signed_in):
        assert try_in(browser).status_code == 303
    known.post("/sign-out")
    use_up_the_limit_of_all(app)
    assert try_in(app.test_client(), "Ben").status_code == 429, "nobody has tried Ben's account"
    assert try_in(known).status_code == 303
    assert is_signed_in(signed_in)
    with night.ledger.transaction() as session:
        row, at = session.get_one(User, user(night, "Ben").id), ledger_time(session)
        key = sign_ins.make_link(session, row, actor=actors.PROGRAM, at=at)
    linked.get(f"/sign-in/{key}")
    assert is_signed_in(linked)


def test_link_makes_a_browser_known(app: Flask, night: Night) -> None:
    browser = app.test_client()
    with night.ledger.transaction() as session:
        row, at = session.get_one(User, user(night).id), ledger_time(session)
        key = sign_ins.make_link(session, row, actor=actors.PROGRAM, at=at)
    browser.get(f"/sign-in/{key}", headers={"Sec-Fetch-Site": "none"})
    assert browser.get_cookie(devices.COOKIE) is not None


def test_device_cookie_is_good_for_its_person_and_no_other(app: Flask, night: Night, own_hash: str) -> None:
    give_passphrase(night, "Grace", own_hash)
    browser = app.test_client()
    try_in(browser)
    browser.post("/sign-out")
    answers = [try_in(browser, "Grace", OTHER).status_code for _ in range(6)]
    assert answers == [400] * 5 + [429]


def test_workstation_knows_everybody_who_signed_in(app: Flask, night: Night, own_hash: str) -> None:
    browser = app.test_client()
    for name in ("Grace", "Ada", "Grace"):
        give_passphrase(night, name, own_hash)
        assert try_in(browser, name).status_code == 303
    for name in ("Grace", "Ada"):
        statuses = [try_in(browser, name, OTHER).status_code for _ in range(11)]
        assert statuses == [400] * 10 + [429], "the limit of a known browser"


@pytest.mark.parametrize("forged", ["", "W1sxLCJhIl1d", "W1sxLCJhIl1d.AAAA", "\xff", "null.x"])
def test_forged_device_cookie_has_no_limits_of_its_own(app: Flask, forged: str) -> None:
    browser = app.test_client()
    browser.set_cookie(devices.COOKIE, forged)
    assert [try_in(browser, "Ada", OTHER).status_code for _ in range(6)] == [400] * 5 + [429]


def test_device_cookie_is_closed_to_scripts_and_other_sites(app: Flask) -> None:
    cookies = try_in(app.test_client()).headers.getlist("Set-Cookie")
    (device,) = (cookie for cookie in cookies if cookie.startswith(f"{devices.COOKIE}="))
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(device.split("; "))


@pytest.fixture
def linked(app: Flask, night: Night) -> FlaskClient:
    """A browser of a person without a passphrase."""
    return sign_in(app.test_client(), night.ledger, "Lin", {Role.VIEWER})


@pytest.fixture
def ada(app: Flask) -> FlaskClient:
    """A browser of Ada."""
    browser = app.test_client()
    try_in(browser)
    return browser


def test_person_without_a_passphrase_sets_one(app: Flask, night: Night, linked: FlaskClient) -> None:
    page = linked.get("/account").text
    assert "You have no passphrase yet." in page
    assert 'name="present"' not in page
    answer = change(linked, OTHER)
    assert (answer.status_code, answer.location) == (303, "/account")
    assert "Your passphrase was set." in linked.get("/account").text
    assert try_in(app.test_client(), "Lin", OTHER).status_code == 303
    assert events(night, "passphrase_set")[-1].actor == f"user:{user(night, 'Lin').id}"
    assert_whole(night)


def test_change_needs_the_present_passphrase(app: Flask, ada: FlaskClient) -> None:
    for present in ("", OTHER):
        answer = change(ada, OTHER, present)
        assert answer.status_code == 400
        assert "Your present passphrase is another one. Nothing was changed." in answer.text
    assert change(ada, OTHER, OWN).status_code == 303
    assert try_in(app.test_client()).status_code == 400
    assert try_in(app.test_client(), passphrase=OTHER).status_code == 303


def test_change_ends_other_sessions_and_links(app: Flask, night: Night, ada: FlaskClient) -> None:
    other = app.test_client()
    try_in(other)
    with night.ledger.transaction() as session:
        row, at = session.get_one(User, user(night).id), ledger_time(session)
        key = sign_ins.make_link(session, row, actor=actors.PROGRAM, at=at)
    assert change(ada, OTHER, OWN).status_code == 303
    assert is_signed_in(ada)
    assert not is_signed_in(other)
    assert app.test_client().get(f"/sign-in/{key}").status_code == 410


def test_present_passphrase_cannot_be_guessed_in_an_open_browser(app: Flask, ada: FlaskClient) -> None:
    answers = [change(ada, OTHER, f"{number} is a wrong one") for number in range(12)]
    assert [answer.status_code for answer in answers] == [400] * 10 + [429] * 2
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert try_in(app.test_client()).status_code == 303, "signing in has other limits"


@pytest.mark.parametrize(
    ("new", "again", "sentence"),
    [
        (OTHER, f"{OTHER}!", "The two new passphrases differ."),
        ("", "", rules.TOO_SHORT),
        ("only 14 signs!", None, rules.TOO_SHORT),
        ("x" * 201, None, rules.TOO_LONG),
        ("passwordpassword", None, rules.BREACHED),
        ("lin nightread radiology", None, rules.CONTEXT),
    ],
)
def test_refused_passphrase_changes_nothing(
    night: Night, linked: FlaskClient, new: str, again: str | None, sentence: str
) -> None:
    answer = change(linked, new, again=again)
    assert answer.status_code == 400
    assert sentence in answer.text
    assert user(night, "Lin").passphrase_hash is None
    assert not new or f'"{new}"' not in answer.text


def test_person_without_a_name_is_asked_for_it_first(app: Flask, night: Night) -> None:
    unnamed = sign_in(app.test_client(), night.ledger, "Temporary")
    with night.ledger.transaction() as session:
        session.execute(update(User).where(User.name == "Temporary").values(name="(unnamed)"))
    assert "New passphrase" not in unnamed.get("/account").text
    assert change(unnamed, OTHER).location == "/account?next=/"


def test_passphrase_changed_meanwhile_is_kept(
    night: Night, ada: FlaskClient, own_hash: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = hashing.hashed("an owl counts the stairs")

    def hash_slowly(_passphrase: str) -> str:
        give_passphrase(night, "Ada", other)
        return own_hash

    monkeypatch.setattr(hashing, "hashed", hash_slowly)
    assert change(ada, OTHER, OWN).status_code == 409
    assert user(night).passphrase_hash == other


def test_administrator_resets_a_passphrase_with_a_link(app: Flask, night: Night, client: FlaskClient) -> None:
    ada = app.test_client()
    try_in(ada)
    page = client.post(f"/people/{user(night).id}/reset")
    assert page.status_code == 200
    assert not is_signed_in(ada)
    assert try_in(app.test_client()).status_code == 400
    browser = app.test_client()
    browser.get(re.findall(r'value="http://localhost(/sign-in/[^"]+)"', page.text)[0])
    assert "You have no passphrase yet." in browser.get("/account").text
    assert events(night, "passphrase_reset")[-1].subject == f"user:{user(night).id}"
    assert_whole(night)


def test_administrator_resets_and_chooses_no_passphrase(night: Night, client: FlaskClient) -> None:
    client.post(f"/people/{user(night).id}/reset", data={"new": OTHER, "passphrase": OTHER})
    assert user(night).passphrase_hash is None


def test_own_passphrase_is_changed_on_the_page_account(night: Night, client: FlaskClient) -> None:
    own_id = user(night, "Somebody").id
    with night.ledger.transaction() as session:
        session.execute(update(User).values(passphrase_hash=user(night).passphrase_hash))
    assert f"/people/{own_id}/reset" not in client.get("/people").text
    assert f"/people/{user(night).id}/reset" in client.get("/people").text
    answer = client.post(f"/people/{own_id}/reset")
    assert answer.status_code == 409
    assert "Change how you sign in yourself on the page Account." in answer.text


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Night]:
    """An empty ledger, on each database."""
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    made = open_night(tmp_path / "elsewhere", database_url=url)
    yield made
    made.ledger.close()


def test_exchanged_hash_is_found(elsewhere: Night, own_hash: str) -> None:
    user_id = give_passphrase(elsewhere, "Ada", own_hash)
    assert_whole(elsewhere)
    with elsewhere.ledger.transaction() as session:
        session.execute(update(User).values(passphrase_hash=hashing.hashed(OTHER)))
    with elsewhere.ledger.reading() as session:
        (mismatch,) = compare(session).mismatches
    assert (mismatch.subject, mismatch.what) == (f"user:{user_id}", "passphrase_hash")
    assert "argon2" not in str(mismatch)


def test_whole_way_works_on_each_database(elsewhere: Night, own_hash: str) -> None:
    give_passphrase(elsewhere, "Ada", own_hash)
    app = create_app(elsewhere.settings)
    app.test_client_class = Browser
    browser = app.test_client()
    assert try_in(browser, passphrase=OTHER).status_code == 400
    assert try_in(browser).status_code == 303
    assert change(browser, OTHER, OWN).status_code == 303
    administrator = sign_in(app.test_client(), elsewhere.ledger, "Adam", {Role.ADMINISTRATOR})
    assert administrator.post(f"/people/{user(elsewhere).id}/reset").status_code == 200
    assert not is_signed_in(browser)
    assert_whole(elsewhere)
    app.extensions["nightread"].ledger.close()
