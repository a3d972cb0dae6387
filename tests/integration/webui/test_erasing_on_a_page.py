"""The page Erase: an administrator erases with a reason, and sees numbers only."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from tests.filling import assert_consistent, image
from tests.integration.webui.night import Night
from tests.signing_in import person, signed_in_client
from worker.ledger.roles import Role
from worker.ledger.tables import AuditEvent, Erasure
from worker.store import open_store


@pytest.fixture
def administrator(app: Flask) -> FlaskClient:
    return signed_in_client(app, "Root", {Role.ADMINISTRATOR})


def test_administrator_sees_numbers_and_erases(administrator: FlaskClient, night: Night) -> None:
    assert 'href="/erase"' in administrator.get("/people").text
    page = administrator.get("/erase?images=1,+3-4").text
    assert "Erase 3 images for ever" in page
    assert "phantom-" not in page
    assert 'name="images" value="1,3-4"' in page
    done = administrator.post("/erase", data={"images": "1,3-4", "reason": "asked for"})
    assert (done.status_code, done.location) == (303, "/erase")
    assert "Erased images: 3." in administrator.get("/erase").text
    assert assert_consistent(night.ledger).erased == 3
    assert not open_store(night.settings).has(image(night.ledger, 1).sha256)
    user_id = person(night.ledger, "Root", {Role.ADMINISTRATOR})
    with night.ledger.reading() as session:
        actors = session.scalars(select(AuditEvent.actor).where(AuditEvent.kind == "erased")).all()
        assert actors == [f"user:{user_id}"] * 3
        assert set(session.scalars(select(Erasure.reason))) == {"asked for"}


@pytest.mark.parametrize(
    ("images", "reason", "status"),
    [("1,99", "x", 404), ("1", " ", 400), ("x", "x", 400), ("1", "x" * 1001, 400)],
)
def test_wrong_form_erases_nothing(
    administrator: FlaskClient, night: Night, images: str, reason: str, status: int
) -> None:
    assert administrator.post("/erase", data={"images": images, "reason": reason}).status_code == status
    assert image(night.ledger, 1).state == "scored"
    assert administrator.get("/erase?images=99").status_code == 404


def test_nobody_else_may_erase(app: Flask, night: Night) -> None:
    others = signed_in_client(app, "Ada", set(Role) - {Role.ADMINISTRATOR})
    assert others.get("/erase?images=1").status_code == 403
    assert others.post("/erase", data={"images": "1", "reason": "x"}).status_code == 403
    assert image(night.ledger, 1).state == "scored"
