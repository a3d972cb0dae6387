"""The product has one version, in worker/__init__.py; every file that repeats it agrees."""

from __future__ import annotations

import datetime as dt
import re

import yaml
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager

from worker import __version__
from worker.config import ROOT

CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
HEADINGS = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)


def test_package_takes_its_version_from_worker() -> None:
    assert ProjectMetadata(str(ROOT), PluginManager()).version == __version__


def test_docker_image_has_the_version() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert {service["image"] for service in compose["services"].values() if "build" in service} == {
        f"nightread:{__version__}"
    }
    label = re.findall(r"org\.opencontainers\.image\.version=(\S+)", (ROOT / "Dockerfile").read_text())
    assert label == [__version__]


def test_changelog_has_a_dated_section_for_each_version() -> None:
    assert HEADINGS[0] == "Unreleased"
    versions, dates = zip(*(heading.split(" - ") for heading in HEADINGS[1:]), strict=True)
    assert versions[0] == __version__
    numbers = [tuple(int(part) for part in version.split(".")) for version in versions]
    assert numbers == sorted(set(numbers), reverse=True)
    days = [dt.date.fromisoformat(date) for date in dates]
    assert days == sorted(days, reverse=True)
