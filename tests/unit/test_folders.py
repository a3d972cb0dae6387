"""Folders that contain one another: in any pair, by path, by link and by mount."""

from __future__ import annotations

import tempfile
from itertools import permutations
from pathlib import Path

import pytest

from tests.conftest import make_settings
from worker.config import Settings, read_settings
from worker.errors import WrongSettings
from worker.folders import Place, conflicts, contains, not_folders, readable_by_others


def places(*paths: Path, exclusive: bool = True) -> list[Place]:
    return [Place(path.name, path, "NIGHTREAD_DATA", exclusive) for path in paths]


def test_default_places_do_not_conflict(tmp_path: Path) -> None:
    assert list(conflicts(make_settings(tmp_path / "data").places)) == []


@pytest.mark.parametrize(("outer", "inner"), list(permutations(["inbox", "incoming", "store", "broker"], 2)))
@pytest.mark.parametrize("below", [".", "deep/er"])
def test_any_folder_in_another_is_a_conflict(tmp_path: Path, outer: str, inner: str, below: str) -> None:
    first, second = places(tmp_path / outer, tmp_path / outer / below)
    assert len(list(conflicts([first, second]))) == 1
    assert len(list(conflicts([second, first]))) == 1
    assert list(conflicts(places(tmp_path / outer, tmp_path / inner))) == []


@pytest.mark.parametrize("setting", ["store", "checkpoints", "database_url", "model"])
@pytest.mark.parametrize("folder", ["inbox", "incoming", "broker", "inbox/deep"])
def test_a_setting_that_points_into_our_folders_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, folder: str
) -> None:
    data = tmp_path / "data"
    value = f"{data / folder}/x"
    monkeypatch.setenv("NIGHTREAD_DATA", str(data))
    monkeypatch.setenv(
        f"NIGHTREAD_{setting.upper()}", f"sqlite:///{value}" if setting == "database_url" else value
    )
    with pytest.raises(WrongSettings, match=f"NIGHTREAD_{setting.upper()}: .* lie in"):
        read_settings()


@pytest.mark.parametrize("store", ["data", "data/inbox", "data/inbox/store", "."])
def test_the_store_may_not_hold_or_enter_the_inbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    monkeypatch.setenv("NIGHTREAD_STORE", str(tmp_path / store))
    with pytest.raises(WrongSettings, match="must not be or lie in"):
        read_settings()


def test_two_files_at_one_path_are_refused(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, checkpoints=str(tmp_path / "nightread.sqlite3"))
    (sentence,) = conflicts(settings.places)
    assert "cannot be both the file of checkpoints and the database" in sentence


def test_containment_is_seen_through_links(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "link").symlink_to("inbox")
    assert contains(tmp_path / "inbox", tmp_path / "link" / "store")
    assert contains(tmp_path / "link", tmp_path / "inbox" / "store")
    assert not contains(tmp_path / "inbox", tmp_path / "inbox2")


def test_a_path_through_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    below, at = places(tmp_path / "file" / "deep" / "store", tmp_path / "file")
    assert len(list(not_folders([below, at]))) == 2
    assert list(not_folders(places(tmp_path / "file", exclusive=False))) == []


def test_the_same_file_system_tree_mounted_twice_is_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bind mount has another path, and the device and inode of the folder itself."""
    for name in ("inbox", "mounted"):
        (tmp_path / name).mkdir()
    really_stat = Path.stat

    def stat(path: Path, **more: bool) -> object:
        return really_stat(tmp_path / "inbox" if path.name == "mounted" else path, **more)

    monkeypatch.setattr(Path, "stat", stat)
    assert contains(tmp_path / "inbox", tmp_path / "mounted" / "store")
    assert isinstance(Settings().places, list)


def test_only_reachable_and_readable_places_are_named(tmp_path: Path) -> None:
    """The folder of the tests is closed to others, so every case has a folder that is open from the root on."""
    with tempfile.TemporaryDirectory() as top:
        Path(top).chmod(0o755)
        opened, closed = Path(top) / "opened", Path(top) / "closed"
        for folder, mode in ((opened, 0o755), (closed, 0o700)):
            folder.mkdir()
            (folder / "file").touch()
            (folder / "file").chmod(0o644)
            folder.chmod(mode)
        paths = [opened, closed, opened / "file", closed / "file", tmp_path / "none"]
        assert readable_by_others(places(*paths)) == [opened, opened / "file"]


def test_inbox_may_lie_outside_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTREAD_INBOX", str(tmp_path / "share"))
    assert read_settings().inbox == tmp_path / "share"
    monkeypatch.setenv("NIGHTREAD_INBOX", str(tmp_path / "data" / "store" / "in"))
    with pytest.raises(WrongSettings, match="NIGHTREAD_INBOX: the inbox must not be or lie in"):
        read_settings()
