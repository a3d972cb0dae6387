"""The documents agree with the code: settings, commands, links, promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from worker import DISCLAIMER
from worker.cli import nightread
from worker.config import ROOT, Settings

README = (ROOT / "README.md").read_text()
SETTINGS = (ROOT / "docs" / "settings.md").read_text()
ROWS = re.findall(r"^\| `NIGHTREAD_([A-Z_]+)` \| (.*?) \| (.*) \|$", SETTINGS, re.MULTILINE)
MEANINGS = {name: meaning for name, _, meaning in ROWS}
DEFAULTS = {name: default.strip("`") for name, default, _ in ROWS}


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_each_setting_is_documented_with_its_description(name: str) -> None:
    assert MEANINGS.get(name.upper()) == Settings.model_fields[name].description


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_each_default_is_documented(name: str) -> None:
    default = Settings.model_fields[name].default
    if name == "workers":
        default = "number of cores"
    if isinstance(default, Path) and default.is_absolute():
        default = default.relative_to(ROOT)
    expected = str(default).lower() if isinstance(default, bool) else str(default) or "(empty)"
    assert DEFAULTS[name.upper()] == expected


def test_each_documented_setting_exists() -> None:
    everywhere = [path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))]
    named = {name.lower() for text in everywhere for name in re.findall(r"NIGHTREAD_([A-Z_]*[A-Z])", text)}
    assert len(named) > 20
    assert named - set(Settings.model_fields) == set()


@pytest.mark.parametrize("name", sorted(name for name, c in nightread.commands.items() if not c.hidden))
def test_each_command_is_mentioned(name: str) -> None:
    mentioned = README + (ROOT / "docs" / "performance.md").read_text()
    assert re.search(
        rf"nightread {name}\b|make run|make bench" if name in {"up", "bench"} else name, mentioned
    )


def test_the_disclaimer_stands_in_the_readme() -> None:
    assert DISCLAIMER.split(".")[0] in README


def test_every_picture_and_page_that_the_readme_links_exists() -> None:
    links = re.findall(r"\]\(((?!http|#)[^)]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_test_that_shows_a_promise_exists() -> None:
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (ROOT / "docs" / "reliability.md").read_text())
    assert len(named) > 20
    files = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    assert [f"{file}::{test}" for file, test in named if f"\ndef {test}(" not in files.get(file, "")] == []
