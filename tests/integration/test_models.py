"""Real workers with two models: one is made active without a restart, one scores in the background.

Each model of these tests is the shipped network with another temperature.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.bundles import identity, recalibrated
from tests.chaos.hosts import needs_root
from tests.conftest import Stack, wait_for
from tests.files import encoded
from worker.config import Settings
from worker.ledger import bundles, model_choice
from worker.ledger.comparison import compare
from worker.ledger.session import Ledger, ledger_time
from worker.ledger.status import status_document
from worker.ledger.tables import Image, Model, Prediction, ShadowPrediction, ShadowWork
from worker.phantom import draw_phantom

DEFAULT = identity(Settings().model)


def phantom(number: int) -> bytes:
    """Return a drawn image that the program does not know as a phantom of its own."""
    return encoded(draw_phantom(number, width=400), "JPEG", quality=92)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def stack(request: pytest.FixtureRequest, make_stack: Callable[..., Stack]) -> Stack:
    """Return a program that is not started, on SQLite and on PostgreSQL."""
    overrides = {}
    if request.param == "postgresql":
        overrides["database_url"] = request.getfixturevalue("postgres_url")
    return make_stack(**overrides)


def add_model(stack: Stack, name: str = "candidate", **changes: Any) -> str:
    """Put another model into the folder of models."""
    return recalibrated(stack.settings.models_path / name, **changes)


def wait_until_known(stack: Stack, sha256: str) -> None:
    """Wait until the worker has said that it can use a model."""

    def is_known() -> bool:
        with stack.ledger.reading() as session:
            known = bundles.known(session, ledger_time(session))
        return bool(known.hosts) and any(
            bundle.sha256 == sha256 and not bundle.problem
            for found in known.bundles.values()
            for bundle in found
        )

    wait_for(is_known, "the worker to find the model")


def models_of(ledger: Ledger) -> list[str]:
    """Return the model of each prediction, in the order of the images."""
    with ledger.reading() as session:
        rows = select(Model.sha256).join(Prediction, Prediction.model_id == Model.id)
        return list(session.scalars(rows.order_by(Prediction.image_id)))


def run(stack: Stack, *arguments: str) -> Any:
    """Run a command that must work and return its JSON document."""
    done = stack.run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def troubles(ledger: Ledger) -> str:
    with ledger.reading() as session:
        return "\n".join(status_document(session, ledger_time(session))["troubles"])


def assert_true(ledger: Ledger) -> None:
    """Check that the audit trail proves all rows."""
    with ledger.reading() as session:
        assert compare(session).mismatches == []


def test_model_is_made_active_and_the_former_one_again(stack: Stack) -> None:
    other = add_model(stack)
    stack.start()
    wait_until_known(stack, other)
    workers = {process.pid for process in stack.processes("worker")}
    stack.drop("1.jpg", phantom(1))
    stack.wait_until_done(1)
    shown = run(stack, "models", "activate", "candidate", "--why", "it is better at night")
    assert shown["active"]["sha256"] == other
    assert shown["active"]["source"] == "site"
    stack.drop("2.jpg", phantom(2))
    stack.wait_until_done(2)
    began = time.monotonic()
    run(stack, "models", "activate", Settings().model.name, "--why", "it is not")
    stack.drop("3.jpg", phantom(3))
    stack.wait_until_done(3)
    back_s = time.monotonic() - began
    assert models_of(stack.ledger) == [DEFAULT, other, DEFAULT]
    assert {process.pid for process in stack.processes("worker")} == workers
    assert back_s < 60
    print(f"back to the former model, and the next image scored, in {back_s:.1f} s")
    changes = run(stack, "models", "list")["changes"]
    assert [change["why"] for change in changes] == ["it is not", "it is better at night"]
    assert_true(stack.ledger)
    assert stack.run("audit", "verify").returncode == 0


def test_model_that_a_worker_lacks_or_that_is_broken_is_refused(stack: Stack) -> None:
    other = add_model(stack)
    broken = stack.settings.models_path / "broken"
    recalibrated(broken, temperature=3.5, version="8.0.0")
    (broken / "model.tflite").write_bytes(b"no network")
    stack.start()
    wait_until_known(stack, other)
    refused = stack.run("models", "activate", "nightread-8.0.0", "--why", "to try it")
    assert refused.returncode == 1
    assert "model.tflite" in refused.stderr
    unknown = stack.run("models", "activate", "nowhere", "--why", "to try it")
    assert unknown.returncode == 1
    assert "There is no model nowhere here; there are: " in unknown.stderr
    assert run(stack, "models", "list")["active"]["source"] == "setting"


def test_pinned_model_lets_no_other_be_active(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(model_sha256=DEFAULT)
    add_model(stack)
    refused = stack.run("models", "activate", "candidate", "--why", "to try it")
    assert refused.returncode == 1
    assert "NIGHTREAD_MODEL_SHA256 allows only" in refused.stderr


def test_worker_without_the_active_model_takes_no_work_and_loses_nothing(stack: Stack) -> None:
    other = add_model(stack)
    run(stack, "models", "activate", "candidate", "--why", "to try it")
    aside = stack.settings.data / "aside"
    shutil.move(stack.settings.models_path / "candidate", aside)
    stack.start()
    stack.drop("1.jpg", phantom(1))
    wait_for(lambda: stack.file_counts().pending == 1, "a pending image")
    wait_for(lambda: "does not have the model" in troubles(stack.ledger), "the trouble")
    with stack.ledger.reading() as session:
        assert session.scalar(select(Image.attempts)) == 0
    shutil.move(aside, stack.settings.models_path / "candidate")
    stack.wait_until_done(1)
    assert models_of(stack.ledger) == [other]
    wait_for(lambda: troubles(stack.ledger) == "", "no trouble")


@needs_root
def test_worker_on_another_machine_that_lacks_the_model_takes_no_work(stack: Stack, tmp_path: Path) -> None:
    """The other machine has another host name, and another folder of models, which is empty."""
    other = add_model(stack)
    stack.start()
    wait_until_known(stack, other)
    run(stack, "models", "activate", "candidate", "--why", "to try it")
    named = ["unshare", "--uts", "sh", "-c", 'hostname ben && exec "$@"', "sh"]
    ben = stack.launch("worker", prefix=[*named, "env", f"NIGHTREAD_MODELS={tmp_path / 'empty'}"])
    try:
        wait_for(lambda: "worker on ben is waiting: This machine does not have" in troubles(stack.ledger))
        for number in range(12):
            stack.drop(f"{number}.jpg", phantom(number))
        stack.wait_until_done(12)
        assert models_of(stack.ledger) == 12 * [other]
        with stack.ledger.reading() as session:
            workers = set(session.scalars(select(Prediction.worker)))
            assert session.scalar(select(func.max(Image.attempts))) == 1
        assert not any(worker.startswith("ben:") for worker in workers)
        # It can use the model that Nightread ships.
        run(stack, "models", "activate", Settings().model.name, "--why", "ben has only this one")
        wait_for(lambda: "ben" not in troubles(stack.ledger), "no trouble on ben")
    finally:
        ben.terminate()
        ben.wait(60)


def test_model_that_vanishes_stops_the_work_until_it_is_back(stack: Stack) -> None:
    other = add_model(stack)
    stack.start()
    wait_until_known(stack, other)
    # No scoring process has loaded it yet.
    run(stack, "models", "activate", "candidate", "--why", "to try it")
    network = stack.settings.models_path / "candidate" / "model.tflite"
    network.rename(stack.settings.data / "aside")
    stack.drop("1.jpg", phantom(1))
    wait_for(lambda: "has no model.tflite" in troubles(stack.ledger), "the trouble")
    assert stack.file_counts().pending == 1
    (stack.settings.data / "aside").rename(network)
    stack.wait_until_done(1)
    assert models_of(stack.ledger) == [other]
    assert_true(stack.ledger)


def shadowed(ledger: Ledger) -> int:
    with ledger.reading() as session:
        return session.scalar(select(func.count()).select_from(ShadowPrediction)) or 0


def what_people_see(ledger: Ledger) -> list[object]:
    """Return each image's state, verdict, score and place, and the number of predictions."""
    with ledger.reading() as session:
        columns = Image.id, Image.state, Image.verdict, Image.queue_rank, Image.review_state
        images = [tuple(row) for row in session.execute(select(*columns).order_by(Image.id))]
        status = status_document(session, ledger_time(session))
        counts = {name: status[name] for name in ("received", "images", "scored", "flagged", "pending")}
        return [*images, session.scalar(select(func.count()).select_from(Prediction)), counts]


def test_candidate_scores_in_the_background_and_changes_nothing(stack: Stack) -> None:
    other = add_model(stack)
    stack.start()
    wait_until_known(stack, other)
    for number in range(6):
        stack.drop(f"{number}.jpg", phantom(number))
    stack.wait_until_done(6)
    before = what_people_see(stack.ledger)
    run(stack, "models", "shadow", "candidate", "--why", "a trial")
    wait_for(lambda: shadowed(stack.ledger) == 6, "six shadow predictions")
    assert what_people_see(stack.ledger) == before
    with stack.ledger.reading() as session:
        pairs = session.execute(
            select(Prediction.p_pneumonia, ShadowPrediction.p_pneumonia, ShadowPrediction.outcome).join(
                ShadowPrediction, ShadowPrediction.image_id == Prediction.image_id
            )
        ).all()
    assert {row[2] for row in pairs} == {"scored"}
    assert all(row[0] != row[1] for row in pairs)
    shown = run(stack, "models", "list")
    assert (shown["shadow"]["done"], shown["shadow"]["left"]) == (6, 0)
    assert shown["active"]["sha256"] == DEFAULT
    run(stack, "models", "shadow", "--off", "--why", "enough")
    stack.drop("7.jpg", phantom(7))
    stack.wait_until_done(7)
    assert models_of(stack.ledger) == 7 * [DEFAULT]
    assert_true(stack.ledger)


def test_killed_workers_do_not_stop_the_candidate(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(lease_s=4.0)
    other = add_model(stack)
    stack.start()
    wait_until_known(stack, other)
    for number in range(40):
        stack.drop(f"{number}.jpg", phantom(number))
    stack.wait_until_done(40)
    # Not by command, which would take longer than the first pages.
    with stack.ledger.transaction() as session:
        at = ledger_time(session)
        known = bundles.known(session, at)
        model_choice.shadow(session, known, "candidate", who="os:0", why="a trial", at=at)

    def is_at_work() -> bool:
        with stack.ledger.reading() as session:
            work = session.scalar(select(ShadowWork.busy_until))
        return work is not None

    wait_for(is_at_work, "a page in work")
    for process in stack.processes("worker"):
        os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: shadowed(stack.ledger) == 40, "forty shadow predictions")
    with stack.ledger.reading() as session:
        assert session.scalar(select(func.count(ShadowPrediction.image_id.distinct()))) == 40
    assert_true(stack.ledger)
