"""Folders that contain one another: in any pair, by path, by link and by mount."""

from __future__ import annotations

import tempfile
from itertools import permutations
from pathlib import Path

import pytest

from tests.conftest import make_settings
from tests.ledgers import current_ledger
from worker.config import Settings, read_settings
from worker.errors import WrongSettings
from worker.folders import Place, conflicts, contains, is_no_database, readable_by_others, wrong_kinds


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
    assert len(list(wrong_kinds([below]))) == len(list(wrong_kinds([at]))) == 1
    assert len(list(wrong_kinds([below, at]))) == 1, "the file is named once"
    assert list(wrong_kinds(places(tmp_path / "file", exclusive=False))) == []


@pytest.mark.parametrize("setting", ["data", "inbox", "store", "model"])
def test_a_file_in_place_of_a_folder_names_its_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    (tmp_path / "file").touch()
    for value in ("file", "file/deeper"):
        monkeypatch.setenv(f"NIGHTREAD_{setting.upper()}", str(tmp_path / value))
        with pytest.raises(WrongSettings) as error:
            read_settings()
        assert str(error.value).startswith(
            f"NIGHTREAD_{setting.upper()}: {tmp_path / 'file'} is not a folder"
        )
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "setting", ["checkpoints", "checkpoint_key", "phantom_key", "site_key", "database_url"]
)
@pytest.mark.parametrize(("value", "words"), [("folder", "is a folder"), ("file/x", "is not a folder")])
def test_a_wrong_path_of_a_file_names_its_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, words: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    path = f"{tmp_path}/{value}"
    monkeypatch.setenv(
        f"NIGHTREAD_{setting.upper()}", f"sqlite:///{path}" if setting == "database_url" else path
    )
    with pytest.raises(WrongSettings, match=f"^NIGHTREAD_{setting.upper()}: .* {words}"):
        read_settings()


@pytest.mark.parametrize("content", [b"import os", b"SQLite format 3", bytes(4096)])
def test_a_file_that_is_no_database_is_refused_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    (tmp_path / "data").mkdir()
    for variable, value, path in (
        ("DATABASE_URL", f"sqlite:///{tmp_path}/script.py", tmp_path / "script.py"),
        ("DATA", str(tmp_path / "data"), tmp_path / "data" / "nightread.sqlite3"),
    ):
        path.write_bytes(content)
        with monkeypatch.context() as patch:
            patch.setenv(f"NIGHTREAD_{variable}", value)
            with pytest.raises(WrongSettings) as error:
                read_settings()
        assert str(error.value).startswith(f"NIGHTREAD_{variable}: {path} is not an SQLite database")
        assert path.read_bytes() == content


def test_an_empty_file_and_a_database_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    current_ledger(f"sqlite:///{tmp_path / 'ledger'}").close()
    assert [is_no_database(tmp_path / name) for name in ("empty", "ledger", "missing", ".")] == [False] * 4


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
