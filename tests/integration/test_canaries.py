"""Canaries through the whole program: the same score each time, and a problem if the score differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from tests.conftest import Stack, wait_for
from tests.filling import assert_consistent
from worker.ledger.tables import Image, Prediction

pytestmark = pytest.mark.stack


def status(stack: Stack) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(stack.run("status", "--json").stdout)
    return document


def test_canaries_have_one_score_and_another_is_a_problem(
    make_stack: Callable[..., Stack],
) -> None:
    stack = make_stack(canary_s=1.0)
    stack.start()
    wait_for(lambda: stack.file_counts().scored >= 2, stack.log_tail)
    # Between two canaries. A supervisor that has to kill its processes may leave a file there.
    wait_for(lambda: not list(stack.settings.incoming.iterdir()), stack.log_tail)
    stack.stop()
    stack.environment["NIGHTREAD_CANARY_S"] = "0"
    stack.start()
    sent = stack.wait_until_done(2)
    assert sent.scored == sent.received
    with stack.ledger.reading() as session:
        images = list(session.scalars(select(Image).order_by(Image.id)))
        scores = set(session.scalars(select(Prediction.p_pneumonia)))
    assert len(scores) == 1, "every canary has the same pixels"
    assert {(row.phantom, row.lane, row.verdict) for row in images} == {(True, "urgent", "clear")}
    assert len({row.sha256 for row in images}) == len(images)
    assert not list(stack.settings.inbox.iterdir())
    assert stack.run("report").returncode == 1, "canaries belong to no night"
    assert_consistent(stack.ledger)

    with stack.ledger.transaction() as session:
        first = session.scalars(select(Prediction).order_by(Prediction.id).limit(1)).one()
        first.p_pneumonia += 0.1
    canary = status(stack)["canary"]
    assert canary["ok"] is False
    assert canary["expected"] == pytest.approx(canary["p_pneumonia"] + 0.1)
    assert canary["trouble"] in status(stack)["troubles"]
    assert "WRONG    canary" in stack.run("status").stdout
