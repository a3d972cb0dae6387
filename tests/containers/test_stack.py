"""docker-compose.yml under a real container engine: make test-containers.

They need root, Docker with Compose, and the ports 8000 and 11112.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import wait_for
from tests.containers.engine import Engine, copy_tree
from tests.dicom import STORESCU, call, radiograph, write
from tests.integration.compose.containers import SERVICES, secrets_of

_ADMINISTRATOR, _PASSPHRASE = "Ada Night", "a phrase of several words"
_ALWAYS = [name for name, service in SERVICES.items() if "profiles" not in service and name != "migrate"]
_CAPABILITIES = re.compile(r"^Cap(?:Inh|Prm|Eff|Bnd|Amb):\s*0+$", re.MULTILINE)
# A program for any container with Python, which says what it can connect to.
_CONNECT = """
import socket
for host, port in (("postgres", 5432), ("redis", 6379)):
    try:
        socket.create_connection((host, port), 5).close()
    except OSError:
        continue
    print(host)
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Start the services as docs/install.md says, and remove them with their data at the end."""
    project = tmp_path_factory.mktemp("project")
    copy_tree(project)
    subprocess.run(["sh", "packaging/container-secrets.sh"], cwd=project, check=True)
    engine = Engine(project)
    patched = pytest.MonkeyPatch()
    for name in os.environ:
        if name.startswith("NIGHTREAD_"):
            patched.delenv(name)
    try:
        engine.compose("build")
        engine.once("migrate")
        link = engine.once(
            "web", "users", "add", _ADMINISTRATOR, "--role", "administrator", "--role", "reader"
        )
        assert "/sign-in/" in link
        engine.once("web", "users", "passphrase", _ADMINISTRATOR, text=f"{_PASSPHRASE}\n{_PASSPHRASE}\n")
        engine.compose("up", "--detach")
        engine.wait_until_healthy(_ALWAYS)
        yield engine
    finally:
        engine.compose("--profile", "dicom", "down", "--volumes", "--remove-orphans")
        patched.undo()


def counts(engine: Engine) -> dict[str, int]:
    """Return the file counts. Fail if a file is not accounted for."""
    status = engine.inside("watch", "nightread", "status")
    assert "All files are accounted for." in status
    (line,) = (line for line in status.splitlines() if " received = " in line)
    return {what: int(number) for number, what in re.findall(r"(\d+) ([a-z ]+?)(?: [+=]|$)", line)}


def wait_until_finished(engine: Engine, received: int) -> dict[str, int]:
    """Wait until so many files were received and nothing waits for a score. Return the counts."""

    def is_finished() -> bool:
        now = counts(engine)
        return now["received"] == received and not now["pending"] and not now["being scored"]

    wait_for(is_finished, "the scores of all files")
    return counts(engine)


def reached(engine: Engine, name: str) -> set[str]:
    """Return what a service can connect to."""
    return set(engine.inside(name, "python", "-c", _CONNECT).split())


def draw(engine: Engine, count: int) -> None:
    """Draw phantoms into the inbox."""
    engine.inside("watch", "nightread", "phantom", str(count), "/data/inbox")


def pids(engine: Engine) -> set[int]:
    """Return the first process of each container."""
    return {container["State"]["Pid"] for name in (*_ALWAYS, "receive") for container in engine.inspect(name)}


@pytest.mark.parametrize("name", _ALWAYS)
def test_container_has_no_right_that_it_does_not_need(engine: Engine, name: str) -> None:
    status = engine.inside(name, "cat", "/proc/1/status")
    assert len(_CAPABILITIES.findall(status)) == 5
    assert re.search(r"^NoNewPrivs:\s*1$", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\s*2$", status, re.MULTILINE)
    user, group = SERVICES[name]["user"].split(":")
    assert re.search(rf"^Uid:(?:\s+{user}){{4}}$", status, re.MULTILINE)
    assert re.search(rf"^Gid:(?:\s+{group}){{4}}$", status, re.MULTILINE)
    for folder in ("/", "/usr", "/opt"):
        engine.inside(name, "sh", "-c", f"! touch {folder}/new 2>/dev/null")
    for container in engine.inspect(name):
        assert container["HostConfig"]["Memory"] > 0
        assert container["HostConfig"]["PidsLimit"] == SERVICES[name]["pids_limit"]


def test_networks_are_separate(engine: Engine) -> None:
    for name in ("watch", "worker"):
        assert reached(engine, name) == {"postgres", "redis"}
        assert all(network["Internal"] for network in engine.networks(name)), "no way out"
    assert reached(engine, "checkpoint") == {"postgres"}
    for name in set(_ALWAYS) - {"web"}:
        (container,) = engine.inspect(name)
        assert not any(container["NetworkSettings"]["Ports"].values()), "nothing is published"


def test_page_is_published_on_this_machine_only(engine: Engine) -> None:
    (container,) = engine.inspect("web")
    ports = container["NetworkSettings"]["Ports"]
    assert ports == {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8000"}]}
    with urllib.request.urlopen("http://127.0.0.1:8000/sign-in", timeout=60) as page:
        assert "<title>" in page.read().decode()


def test_secrets_are_in_files_that_only_their_service_has(engine: Engine) -> None:
    files = list((engine.project / "secrets").iterdir())
    passwords = {word for file in files for word in re.findall(r"\b[0-9a-f]{48}\b", file.read_text())}
    assert len(passwords) == 7
    for name in _ALWAYS:
        (container,) = engine.inspect(name)
        given = [*container["Config"]["Env"], *container["Args"]]
        assert not [word for word in given if any(password in word for password in passwords)]
        listed = engine.inside(name, "ls", "/run/secrets").split()
        expected = [Path(target).name for target in secrets_of(name) if target.startswith("/run/secrets")]
        assert sorted(listed) == sorted(expected)


def test_phantoms_are_screened_and_everything_checks_out(engine: Engine) -> None:
    draw(engine, 20)
    assert wait_until_finished(engine, 20)["scored"] == 20
    checked = engine.inside("watch", "nightread", "db", "check")
    assert "0 of Nightread's folders and files that other users" in checked
    signed = engine.once("checkpoint", "audit", "verify")
    assert "The audit trail is intact" in signed
    assert "Valid signed checkpoints:" in signed
    engine.inside("worker", "sh", "-c", "! touch /data/store/new 2>/dev/null")


def test_receiver_takes_objects_of_a_modality(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTREAD_DICOM_CALLING", "MODALITY")
    monkeypatch.setenv("NIGHTREAD_DICOM_ADDRESSES", "172.16.0.0/12, 192.168.0.0/16")
    engine.compose("--profile", "dicom", "up", "--detach")
    engine.wait_until_healthy(["receive"])
    before = counts(engine)["received"]
    sent = call(STORESCU, 11112, write(radiograph(1, side=512), tmp_path / "object.dcm"))
    assert sent.returncode == 0, sent.stdout
    wait_until_finished(engine, before + 1)


def test_nothing_is_lost_when_every_container_is_killed(engine: Engine) -> None:
    """The engine starts each again: nobody has stopped it."""
    before = counts(engine)
    engine.compose("up", "--detach", "--scale", "worker=2")
    # The first twenty are there already.
    draw(engine, 80)
    wait_for(lambda: counts(engine)["scored"] > before["scored"], "the first scores")
    killed = pids(engine)
    for process in killed:
        os.kill(process, signal.SIGKILL)
    wait_for(lambda: len(pids(engine) - killed) == len(killed), "a new process of each container")
    engine.wait_until_healthy([*_ALWAYS, "receive"])
    after = wait_until_finished(engine, before["received"] + 80)
    assert (after["scored"] - before["scored"], after["duplicates"] - before["duplicates"]) == (60, 20)


def test_data_survive_the_containers(engine: Engine) -> None:
    before = counts(engine)
    engine.compose("--profile", "dicom", "down")
    engine.compose("up", "--detach")
    engine.wait_until_healthy(_ALWAYS)
    assert counts(engine) == before
    assert "The tables match the audit trail." in engine.once("checkpoint", "audit", "verify")
