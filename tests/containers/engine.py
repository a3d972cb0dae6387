"""Runs docker-compose.yml with a real container engine, from a copy of the working tree."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.conftest import HANG_S, wait_for
from worker.config import ROOT

_PROJECT = "nightread-test"
# `docker compose`, or a program with the same arguments.
_COMPOSE = shlex.split(os.environ.get("COMPOSE", "docker compose"))
_HANG_S = 3 * HANG_S


def copy_tree(target: Path) -> None:
    """Copy the files of the repository, as they are now, to an empty folder."""
    listed = _output(["git", "-C", str(ROOT), "ls-files", "-z"]).split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


class Engine:
    """The services of one project folder."""

    def __init__(self, project: Path) -> None:
        """Use the docker-compose.yml of this folder."""
        self.project = project

    def compose(self, *arguments: str, text: str = "") -> str:
        """Run `docker compose` with arguments and an input. Return its output, without what it prints about itself."""
        return _output([*_COMPOSE, "--project-name", _PROJECT, *arguments], self.project, text)

    def inside(self, service: str, *command: str, text: str = "") -> str:
        """Run a command in a running container of a service."""
        return self.compose("exec", "-T", service, *command, text=text)

    def once(self, service: str, *command: str, text: str = "") -> str:
        """Run a command in a new container of a service."""
        return self.compose("run", "--rm", "-T", service, *command, text=text)

    def ids(self, service: str) -> list[str]:
        """Return the running containers of a service."""
        labels = [f"com.docker.compose.project={_PROJECT}", f"com.docker.compose.service={service}"]
        filters = [word for label in labels for word in ("--filter", f"label={label}")]
        return _output(["docker", "ps", "--quiet", "--no-trunc", *filters]).split()

    def inspect(self, service: str) -> list[dict[str, Any]]:
        """Return what the engine knows about the running containers of a service."""
        numbers = self.ids(service)
        return list(json.loads(_output(["docker", "inspect", *numbers]))) if numbers else []

    def networks(self, service: str) -> list[dict[str, Any]]:
        """Return what the engine knows about the networks of a service."""
        names = {
            name for container in self.inspect(service) for name in container["NetworkSettings"]["Networks"]
        }
        return list(json.loads(_output(["docker", "network", "inspect", *names])))

    def wait_until_healthy(self, services: Sequence[str]) -> None:
        """Wait until each of these services runs, and its health check passes."""
        for service in services:
            wait_for(partial(self._is_healthy, service), f"a healthy {service}", _HANG_S)

    def _is_healthy(self, service: str) -> bool:
        states = [container["State"] for container in self.inspect(service)]
        return bool(states) and all(
            state["Running"] and state.get("Health", {"Status": "healthy"})["Status"] == "healthy"
            for state in states
        )


def _output(command: Sequence[str], folder: Path | None = None, text: str = "") -> str:
    ran = subprocess.run(
        command, cwd=folder, input=text, capture_output=True, text=True, timeout=_HANG_S, check=False
    )
    assert ran.returncode == 0, f"{shlex.join(command)}\n{ran.stdout[-2000:]}\n{ran.stderr[-2000:]}"
    return ran.stdout
