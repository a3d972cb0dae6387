"""Runs the services of docker-compose.yml without a container engine: their commands, settings, secrets and mounts.

Each service has a mount namespace (mount_namespaces(7)) in which it sees its own read-only root with the folders that it
mounts, read-only where the file says so. Networks, users, capabilities and limits are not simulated.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

import yaml

from tests.conftest import HANG_S
from worker.config import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
# The services with Nightread's own image.
OURS = [name for name, service in SERVICES.items() if "build" in service]
_UNSHARE = ["unshare", "--mount", *(["--map-root-user"] if os.getuid() else [])]
_IMAGE_SETTINGS = dict(re.findall(r"(NIGHTREAD_\w+)=(\S+)", DOCKERFILE))

# `${NAME:-default}`
_WITH_DEFAULT = re.compile(r"\$\{\w+:-([^}]*)\}")


def environment_of(name: str) -> dict[str, str]:
    """Return the environment of a service, without its image's; variables that nobody set have their defaults."""
    given = SERVICES[name].get("environment", {})
    return {key: _WITH_DEFAULT.sub(r"\1", str(value)) for key, value in given.items()}


def secrets_of(name: str) -> dict[str, str]:
    """Return the secrets of a service: the path in the container, and the file beside docker-compose.yml."""
    targets = {}
    for secret in SERVICES[name].get("secrets", []):
        source = secret if isinstance(secret, str) else secret["source"]
        target = f"/run/secrets/{source}" if isinstance(secret, str) else secret["target"]
        targets[target] = str(COMPOSE["secrets"][source]["file"])
    return targets


def mounts_of(name: str) -> list[tuple[str, str, bool]]:
    """Return the mounts of a service: the source, the path in the container, and whether it is read-only."""
    mounts = [volume.split(":") for volume in SERVICES[name].get("volumes", [])]
    return sorted(((mount[0], mount[1], mount[2:] == ["ro"]) for mount in mounts), key=lambda mount: mount[1])


def targets_of(name: str) -> list[str]:
    """Return the paths at which a service mounts something."""
    return [target for _, target, _ in mounts_of(name)]


class Containers:
    """The services of one project folder, which `packaging/container-secrets.sh` has prepared."""

    def __init__(self, project: Path, settings: Mapping[str, str]) -> None:
        """Run services with these settings, too."""
        self._project, self._settings = project, settings

    def environment(self, name: str) -> dict[str, str]:
        """Return the environment of a service, with paths of this machine."""
        inside = {**_IMAGE_SETTINGS, **environment_of(name), **self._settings}
        return {**os.environ, **{key: self._outside(name, value) for key, value in inside.items()}}

    def run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a `nightread` command in the place of a service until it ends."""
        command = [*self.prefix(name), sys.executable, "-m", "worker.cli", *arguments]
        return subprocess.run(
            command,
            env=self.environment(name),
            check=False,
            capture_output=True,
            text=True,
            timeout=HANG_S,
            cwd="/",
        )

    @contextmanager
    def running(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run the command of a service, and stop it after the block."""
        command = [*self.prefix(name), sys.executable, "-m", "worker.cli", *SERVICES[name]["command"]]
        process = subprocess.Popen(command, env=self.environment(name), cwd="/")
        try:
            yield process
        finally:
            process.terminate()
            assert process.wait(HANG_S) == 0

    def _root(self, name: str) -> Path:
        return self._project / "roots" / name

    def _outside(self, name: str, value: str) -> str:
        if value in secrets_of(name):
            return str(self._project / secrets_of(name)[value])
        return f"{self._root(name)}{value}" if value.startswith(("/data", "/checkpoints")) else value

    def prefix(self, name: str) -> list[str]:
        """Return the command that runs another one with the mounts of a service."""
        root = self._root(name)
        root.mkdir(parents=True, exist_ok=True)
        # The image has the first folder, and the engine creates the other ones.
        steps = [f"mount -t tmpfs none {quote(str(root))}"]
        steps += [f"mkdir -p {quote(f'{root}{target}')}" for target in ("/data", *targets_of(name))]
        steps.append(f"mount -o remount,ro {quote(str(root))}")
        for source, target, read_only in mounts_of(name):
            place = quote(f"{root}{target}")
            steps += [f"mkdir -p {place}", f"mount --bind {quote(str(self._project / source))} {place}"]
            if read_only:
                steps.append(f"mount -o remount,bind,ro {place}")
        return [*_UNSHARE, "sh", "-ec", "; ".join([*steps, 'exec "$@"']), name]


def prepare(project: Path) -> dict[str, str]:
    """Run `packaging/container-secrets.sh` in a folder, without root. Return the owner that it gives to each path."""
    tools = project / "tools"
    tools.mkdir(parents=True, exist_ok=True)
    owners = project / "owners"
    for name, script in (("id", "echo 0"), ("chown", f'echo "$*" >> {quote(str(owners))}')):
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    subprocess.run(
        ["sh", str(ROOT / "packaging" / "container-secrets.sh")],
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
        cwd=project,
        check=True,
        capture_output=True,
        text=True,
    )
    pairs = [line.split(" ", 1) for line in owners.read_text().splitlines()]
    # The secrets are made in a folder with another name.
    return {re.sub(r"^\./secrets\.\w+/", "secrets/", path): owner for owner, path in pairs}
