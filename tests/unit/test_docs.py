"""The documents agree with the code: settings, commands, links, promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from worker import DISCLAIMER
from worker.cli import nightread
from worker.config import ROOT, Settings

PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "models").glob("*/README.md"))
}
README = PAGES["README.md"]
SETTINGS = PAGES["docs/settings.md"]
SECURITY = PAGES["SECURITY.md"]
# Folders that a reader is to make.
EXAMPLES = {"models/other", "models/OWN"}
ROWS = re.findall(r"^\| `NIGHTREAD_([A-Z0-9_]+)` \| (.*?) \| (.*) \|$", SETTINGS, re.MULTILINE)
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
    if name == "inbox":
        default = "inbox in the data folder"
    if isinstance(default, Path) and default.is_absolute():
        default = default.relative_to(ROOT)
    expected = str(default).lower() if isinstance(default, bool) else str(default) or "(empty)"
    assert DEFAULTS[name.upper()] == expected


def test_each_documented_setting_exists() -> None:
    named = {name.lower() for name in re.findall(r"NIGHTREAD_([A-Z0-9_]*[A-Z0-9])", "".join(PAGES.values()))}
    assert len(named) > 20
    assert named - set(Settings.model_fields) == set()


@pytest.mark.parametrize("name", sorted(name for name, c in nightread.commands.items() if not c.hidden))
def test_each_command_is_documented(name: str) -> None:
    assert re.search(rf"`?nightread {name}\b", "".join(PAGES.values()))


def test_readme_shows_the_disclaimer() -> None:
    assert DISCLAIMER.split(".")[0] in README


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    targets = re.findall(r"\]\(((?!https?:)[^)\s]+)\)", PAGES[page])
    assert [target for target in targets if not _exists(page, target)] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_exists(page: str) -> None:
    folders = "worker|webui|training|bench|migrations|models|tests|docs|lock|packaging"
    named = re.findall(rf"`((?:{folders})/[\w./-]+)`", PAGES[page])
    assert [path for path in named if not (ROOT / path).exists() and path not in EXAMPLES] == []


@pytest.mark.parametrize("page", ["docs/reliability.md", "docs/security.md", "SECURITY.md"])
def test_every_test_that_a_page_names_exists(page: str) -> None:
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGES[page])
    assert len(named) > 20
    # Folders may hold files of the same name.
    files: dict[str, str] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        files[path.name] = files.get(path.name, "") + path.read_text()
    assert [f"{file}::{test}" for file, test in named if f"\ndef {test}(" not in files.get(file, "")] == []


def test_every_abuse_has_a_test_or_is_said_to_be_uncovered() -> None:
    tables = re.findall(r"\n\| abuse \|.*?\n\n", SECURITY, re.DOTALL)
    assert len(tables) == 9
    for row in (line for table in tables for line in table.strip().splitlines()[2:]):
        abuse, covered, shown, uncovered = re.split(r" *\| *", row)[1:-1]
        assert (covered == "nothing") == (shown == ""), abuse
        assert uncovered or covered != "nothing", abuse


def _exists(page: str, target: str) -> bool:
    """Tell whether a page, and its heading after `#`, is there. GitHub's rule names the headings."""
    name, _, anchor = target.partition("#")
    path = (ROOT / page).parent / name if name else ROOT / page
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE) if anchor and path.exists() else []
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return path.exists() and (not anchor or anchor in anchors)
