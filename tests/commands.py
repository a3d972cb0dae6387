"""Runs `nightread` commands in real processes, forked from one that has imported the program.

A new Python imports for a second of processor time before the command begins. A fork does not: it has memory, environment,
working directory, logs and exit status of its own, and ends like every other process.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from worker.config import ROOT

_REQUEST_BYTES = 128 * 1024
_OF_PYTHON = {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
_PRELOADED = (
    "worker.processes",
    "worker.supervisor",
    "worker.erasing",
    "sqlalchemy.dialects.sqlite",
    "psycopg",
)


def run(
    *arguments: str | bytes,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    stdin: bytes = b"",
    seconds: float,
) -> subprocess.CompletedProcess[str]:
    """Run `nightread` until it ends.

    Args:
        arguments: what follows `nightread`.
        environment: variables besides those of this process.
        folder: the working directory; by default that of this process.
        stdin: what the command can read.
        seconds: after this time, kill the command and raise TimeoutExpired.
    """
    variables = {**os.environ, **_OF_PYTHON, **(environment or {})}
    with (
        tempfile.TemporaryFile() as typed,
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
    ):
        typed.write(stdin)
        typed.seek(0)
        files = [typed.fileno(), stdout.fileno(), stderr.fileno()]
        start = _fork if _can_fork() else _start_python
        status = start(arguments, variables, folder or Path.cwd(), files, seconds)
        stdout.seek(0)
        stderr.seek(0)
        output, errors = stdout.read().decode(), stderr.read().decode()
    return subprocess.CompletedProcess(["nightread", *arguments], status, output, errors)


def _can_fork() -> bool:
    """Return whether this is Linux and no coverage is measured: the coverage of forks would be lost."""
    return sys.platform == "linux" and not any(name.startswith("COVERAGE_PROCESS") for name in os.environ)


def _start_python(
    arguments: tuple[str | bytes, ...],
    variables: dict[str, str],
    folder: Path,
    files: list[int],
    seconds: float,
) -> int:
    """Run the command in a new Python and return its exit status."""
    command = [sys.executable, "-m", "worker.cli", *arguments]
    stdin, stdout, stderr = files
    return subprocess.run(
        command,
        env=variables,
        cwd=folder,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        check=False,
        timeout=seconds,
    ).returncode


def _fork(
    arguments: tuple[str | bytes, ...],
    variables: dict[str, str],
    folder: Path,
    files: list[int],
    seconds: float,
) -> int:
    """Run the command in a fork of the server and return its exit status."""
    decoded = [os.fsdecode(argument) for argument in arguments]
    request = json.dumps({"arguments": decoded, "environment": variables, "folder": str(folder)}).encode()
    assert len(request) < _REQUEST_BYTES
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(_server())
        socket.send_fds(connection, [request], files)
        connection.settimeout(seconds)
        pid = int(connection.recv(100))
        try:
            return int(connection.recv(100))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(["nightread", *decoded], seconds) from None


@cache
def _server() -> str:
    """Start the process that is forked, once for this process, and return the address of its socket."""
    # From Python 3.13 on, a child that `multiprocessing` forks clears its atexit functions. That would drop the last reference
    # to a TemporaryDirectory, and remove the folder.
    folder = Path(tempfile.mkdtemp(prefix="nightread-commands-"))
    address = str(folder / "socket")
    variables = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTREAD_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.commands", address],
        env={**variables, **_OF_PYTHON},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdin
    assert process.stdout
    # It ends when this pipe does, so it does not outlive tests that are killed.
    stdin = process.stdin
    with process.stdout as ready:
        assert ready.readline() == b"ready\n"

    def stop() -> None:
        stdin.close()
        process.wait()
        shutil.rmtree(folder)

    atexit.register(stop)
    return address


def _import_the_program() -> None:
    package = importlib.import_module("worker.commands")
    commands = [f"worker.commands.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
    for name in (*commands, *_PRELOADED):
        importlib.import_module(name)
    # What exists by now stays in the memory that all processes share.
    gc.collect()
    gc.freeze()


def _serve(address: str) -> list[str] | None:
    """Fork for each request until stdin ends. In a process that is to be a command, return its arguments."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(address)
        listening.listen(100)
        print("ready", flush=True)
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            connection, _ = listening.accept()
            if os.fork() == 0:
                break
            connection.close()
            _reap()
        else:
            return None
    return _become_command(connection)


def _reap() -> None:
    """Collect the children that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _become_command(connection: socket.socket) -> list[str]:
    """Fork once more: this process reports the status of the other, which returns the arguments of its command."""
    message, files, _, _ = socket.recv_fds(connection, _REQUEST_BYTES, 3)
    if pid := os.fork():
        connection.send(str(pid).encode())
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        connection.send(str(status).encode())
        os._exit(0)
    connection.close()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    request = json.loads(message)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    arguments: list[str] = request["arguments"]
    return arguments


def _main() -> None:
    _import_the_program()
    arguments = _serve(sys.argv[1])
    if arguments is None:
        return
    from worker.cli import main

    sys.argv = ["nightread", *arguments]
    # So that click names the program as its console script does.
    sys.modules["__main__"].__package__ = None
    main()


if __name__ == "__main__":
    _main()
