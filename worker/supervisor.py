"""`nightread up`: starts the processes of one machine, restarts one that ends, and stops all of them."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TextIO

import click
import structlog

from worker import DISCLAIMER, exposure
from worker.addresses import page_address
from worker.config import Settings
from worker.errors import ModelUnusable, TransientFailure, WrongSettings
from worker.inference.bundle import load_bundle
from worker.ledger import actors, sign_ins, users
from worker.ledger.heartbeats import process_statuses
from worker.ledger.schema import upgrade
from worker.ledger.session import Ledger, ledger_time
from worker.queue import bundled_broker
from worker.screening import choose_point

log = structlog.get_logger(__name__)

_POLL_S = 0.2
_STOP_WITHIN_S = 20.0
# A stopped worker begins no further image. If an image hangs, the worker kills its process when the lease ends. Killing the
# worker sooner would cost the image an attempt.
_AFTER_LEASE_S = 15.0
# A terminal or a wrapper may send one key press twice. Later, an interrupt is another key press.
_ONE_PRESS_S = 1.0
_FIRST_PAUSE_S = 1.0
# A process that ran for this long had started well: after its next failure, the first pause is short again.
_STEADY_AFTER_S = 60.0
_PR_SET_PDEATHSIG = 1
# The way out of a hospital is often a proxy, which `http_proxy` names. It cannot reach this machine's own address.
_WITHOUT_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
# The exit status of a command whose settings are wrong: to start it again would change nothing.
_WRONG_USE = 2
_OF_MIGRATIONS = ("NIGHTREAD_MIGRATION_DATABASE_URL", "NIGHTREAD_MIGRATION_DATABASE_URL_FILE")
_NO_ADMINISTRATOR = "(no administrator is left: run `nightread users add NAME --role administrator`, then `nightread users link NAME`)"


class CannotStart(Exception):  # noqa: N818 - the name says what happened
    """Another supervisor uses this data folder, or another program uses one of the ports."""


@dataclass
class _Child:
    """One supervised process. When it ends, it is restarted after a pause that grows each time."""

    name: str
    longest_pause_s: float
    stop_within_s: float = _STOP_WITHIN_S
    stops_by: float = 0.0
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    next_start: float = 0.0
    pause_s: float = field(default=_FIRST_PAUSE_S)

    def start(self, environment: dict[str, str]) -> None:
        # In its own session, so that Ctrl-C reaches the supervisor only, which stops the others in order.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "worker.cli", self.name],
            env=environment,
            start_new_session=True,
            # This is safe: the process has one thread, and the function only makes a system call.
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
        )
        self.started = time.monotonic()

    def restart_if_ended(self, environment: dict[str, str]) -> None:
        """Notice that the process ended, and start it again when the pause is over."""
        now = time.monotonic()
        if self.process is not None and self.process.poll() is not None:
            if now - self.started > _STEADY_AFTER_S:
                self.pause_s = _FIRST_PAUSE_S
            pause_s = min(self.pause_s, self.longest_pause_s)
            log.error(
                "a process ended and will be restarted",
                name=self.name,
                status=self.process.returncode,
                again_in_s=pause_s,
            )
            self.process = None
            self.next_start = now + pause_s
            self.pause_s = 2 * pause_s
        if self.process is None and now >= self.next_start:
            self.start(environment)

    def refused_its_settings(self) -> bool:
        return self.process is not None and self.process.poll() == _WRONG_USE

    def terminate(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.stops_by = time.monotonic() + self.stop_within_s

    def wait(self, signals: _Signals) -> None:
        """Wait until the process has ended; kill it when it takes too long, or as soon as the user asks for that."""
        if self.process is None:
            return
        # In short steps, so that an interrupt counts at once.
        while self.process.poll() is None and time.monotonic() < self.stops_by and not signals.hurry:
            time.sleep(_POLL_S)
        if self.process.poll() is None:
            why = (
                "a process is killed, as asked"
                if signals.hurry
                else "a process did not stop in time and is killed"
            )
            log.warning(why, name=self.name)
            # It leads a group of its own, with its children: the scoring processes, the broker's server.
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class _Signals:
    """The signals so far, and what they ask for.

    Attributes:
        stop: set by the first signal.
        hurry: an interrupt came while the processes were being stopped: kill them.
        since: when the first signal came, by the monotonic clock, in seconds.
    """

    stop: threading.Event = field(default_factory=threading.Event)
    hurry: bool = False
    since: float = 0.0

    def take(self, number: int) -> None:
        """Take a signal. A terminal that closes sends SIGHUP more than once, so only an interrupt hurries."""
        now = time.monotonic()
        if not self.stop.is_set():
            self.since = now
        elif number == signal.SIGINT and now > self.since + _ONE_PRESS_S:
            self.hurry = True
        self.stop.set()


def up(settings: Settings) -> int:
    """Start all processes, keep them running, and stop them on SIGINT, SIGTERM or SIGHUP.

    A SIGINT while they stop kills those that still run.

    Returns:
        The exit status.

    Raises:
        WrongSettings: with these settings, a process would end at once. Nothing was started.
        CannotStart: the data folder or the port is in use.
        TransientFailure: the database is out of reach.
    """
    signals = _Signals()
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Under `nohup`, SIGHUP is ignored, so that the terminal can be closed.
        if signum != signal.SIGHUP or signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, lambda number, _: signals.take(number))
    exposure.check_settings(settings)
    if settings.dicom_port:
        exposure.check_receiver(settings)
        exposure.check_dicom_is_installed()
    _check_model(settings)
    _make_folders(settings)
    with _exclusive_lock(settings):
        _check_ports(settings)
        upgrade(Ledger(settings.migration_database))
        ledger = Ledger(settings.database)
        exposure.check_administrator(settings, ledger)
        return _supervise(settings, ledger, signals)


def _check_model(settings: Settings) -> None:
    try:
        bundle = load_bundle(settings.model, settings.runtime, settings.model_sha256)
    except ModelUnusable as error:
        raise WrongSettings(f"NIGHTREAD_MODEL: {error}") from None
    try:
        choose_point(settings, bundle)
    except ModelUnusable as error:
        raise WrongSettings(f"NIGHTREAD_OPERATING_POINT: {error}") from None


def _make_folders(settings: Settings) -> None:
    for setting, folder in (
        ("NIGHTREAD_DATA", settings.data),
        ("NIGHTREAD_DATA", settings.incoming),
        (settings.setting_of("inbox"), settings.inbox),
    ):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WrongSettings(
                f"{setting}: the folder {folder} cannot be created ({error.strerror})."
            ) from None


def _supervise(settings: Settings, ledger: Ledger, signals: _Signals) -> int:
    """Start the processes and keep them running until a signal comes. Return the exit status."""
    environment = _child_environment(settings)
    names = (["broker"] if settings.broker_is_bundled else []) + ["worker", "watch", "web"]
    names += ["receive"] if settings.dicom_port else []
    children = [_Child(name, settings.restart_pause_s, _stop_within_s(settings, name)) for name in names]
    announced = False
    try:
        for child in children:
            child.start(environment)
            if child.name == "broker":
                _wait_until(lambda: bundled_broker.is_ready(settings), signals.stop, seconds=10)
        while not signals.stop.wait(_POLL_S):
            for child in children:
                # Later, the settings were right, and the other processes continue.
                if child.refused_its_settings() and not announced:
                    return _WRONG_USE
                child.restart_if_ended(environment)
            if not announced and _is_ready(settings, ledger):
                announced = True
                _announce(settings, _way_in(settings, ledger))
        return 0
    finally:
        click.echo(
            "Nightread is stopping. Pending images are scored after the next start. Ctrl-C kills what still runs.",
            err=True,
        )
        # So that an interrupt hurries, whatever the reason for the stop is.
        signals.take(signal.SIGTERM)
        # The broker is stopped last, because the worker still needs it.
        for group in ([c for c in children if c.name != "broker"], children):
            for child in group:
                child.terminate()
            for child in group:
                child.wait(signals)


def _stop_within_s(settings: Settings, name: str) -> float:
    return max(_STOP_WITHIN_S, settings.lease_s + _AFTER_LEASE_S) if name == "worker" else _STOP_WITHIN_S


def _child_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of the children: our own, and the settings with absolute paths."""
    values = settings.model_dump(include=settings.model_fields_set | {"data", "model"}, mode="json")
    environment = os.environ | {f"NIGHTREAD_{name.upper()}": str(value) for name, value in values.items()}
    # No child changes tables, so none gets the password of the role that may.
    for name in _OF_MIGRATIONS:
        environment.pop(name, None)
    return environment


def _is_ready(settings: Settings, ledger: Ledger) -> bool:
    alive: set[str] = set()
    with suppress(TransientFailure), ledger.reading() as session:
        alive = {
            status.name for status in process_statuses(session, ledger_time(session)) if not status.silent
        }
    needed = {"worker", "watch", "sweeper"} | ({"receive"} if settings.dicom_port else set())
    return needed <= alive and _web_answers(settings)


def _web_answers(settings: Settings) -> bool:
    try:
        with _WITHOUT_PROXY.open(f"{_address(settings)}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004 - HTTP OK
    except (urllib.error.URLError, OSError):
        return False


def _address(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::", ""} else settings.host  # noqa: S104 - a comparison
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _way_in(settings: Settings, ledger: Ledger) -> str:
    """Return the address of the page: a new link for the first administrator if none can sign in without.

    If there is no administrator to make it for, say what to do. If it cannot be made now, leave it out.
    """
    page = page_address(settings)
    with suppress(TransientFailure), ledger.transaction() as session:
        if users.an_administrator_can_sign_in(session):
            return page
        at = ledger_time(session)
        first = users.first_administrator(session, at)
        if first is None:
            return f"{page}\n          {_NO_ADMINISTRATOR}"
        key = sign_ins.make_link(session, first, actor=actors.PROGRAM, at=at)
        return f"{page}/sign-in/{key}\n          (signs you in, once)"
    return page


def _announce(settings: Settings, page: str) -> None:
    receiver = f"{settings.dicom_ae_title} at {settings.dicom_host}, port {settings.dicom_port}"
    dicom = f"  DICOM   {receiver}\n" if settings.dicom_port else ""
    click.echo(
        f"\n  Nightread is ready.\n\n"
        f"  Inbox   {settings.inbox}\n"
        f"{dicom}"
        f"  Open    {page}\n\n"
        f"  {DISCLAIMER}\n"
        f"  Ctrl-C stops everything.\n",
        err=True,
    )


def _wait_until(condition: Callable[[], bool], stop: threading.Event, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until and not stop.is_set():
        stop.wait(_POLL_S)


@contextmanager
def _exclusive_lock(settings: Settings) -> Iterator[TextIO]:
    """Hold the lock of the data folder, so that no second supervisor starts the same processes."""
    with (settings.data / "nightread.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(f"Nightread is already running with the data folder {settings.data}.") from None
        yield lock


def _check_ports(settings: Settings) -> None:
    """Raise CannotStart if a port is in use: the process that needs it would fail again and again."""
    _check_port(settings.host, settings.port, "NIGHTREAD_HOST", "NIGHTREAD_PORT")
    if settings.dicom_port:
        _check_port(settings.dicom_host, settings.dicom_port, "NIGHTREAD_DICOM_HOST", "NIGHTREAD_DICOM_PORT")


def _check_port(host: str, port: int, host_setting: str, port_setting: str) -> None:
    try:
        _bind_once(host, port)
    except socket.gaierror as error:
        raise WrongSettings(
            f"{host_setting}: {host!r} is not an address of this machine ({error.strerror})."
        ) from None
    except OSError as error:
        raise CannotStart(
            f"Port {port} of {host} cannot be used ({error.strerror}). "
            f"Set {port_setting} to another port, or {host_setting} to another address."
        ) from None


def _bind_once(host: str, port: int) -> None:
    """Bind to the address like the web server does, and release it. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        probe.bind((host, port))


def _die_with_parent() -> None:
    """Have Linux send SIGTERM to this process when the supervisor dies (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
