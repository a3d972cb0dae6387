from __future__ import annotations

import pytest

from worker.intake.names import NameRules

RULES = NameRules()


@pytest.mark.parametrize(
    "name",
    [
        ".hidden.jpg", "a.jpg.part", "A.JPG.PART", "a.tmp", "a.jpg~", "a.filepart", "a.partial", "a.temp",
        "a.crdownload", "a.opdownload", "a.download", "a.!qB", "a.!ut", "a.jpg.aria2", "a.lftp-pget-status",
        ".~tmp~", ".syncthing.a.jpg.tmp", "~syncthing~a.jpg.tmp", ".a.jpg.Xa91Zz", "tmpABCD.TMP",
    ],
)  # fmt: skip
def test_names_of_unfinished_files_are_waited_for(name: str) -> None:
    assert RULES.is_temporary(name)
    assert RULES.is_ignored(name)


@pytest.mark.parametrize(
    "name",
    [
        "Thumbs.db", "THUMBS.DB", "desktop.ini", ".DS_Store", "._chest.jpg", "__MACOSX", "@eaDir", "#recycle",
        "$RECYCLE.BIN", ".@__thumb", "~$report.docx", "a.lock", ".~lock.a.odt#", "DICOMDIR", "notes.txt",
        "System Volume Information", "a.swp", "a.bak",
    ],
)  # fmt: skip
def test_clutter_is_left_alone(name: str) -> None:
    assert RULES.is_clutter(name)
    assert RULES.is_ignored(name)


@pytest.mark.parametrize(
    "name",
    [
        "a.jpg", "a", "part", "tmp", "a.partner", "~a.jpg", "a.jpg.", "IM.000.1", "a.zip", "a.pdf", "a.dcm", "txt",
        "thumbs.db.jpg", "a.aria2.jpg",
    ],
)  # fmt: skip
def test_unknown_names_get_a_receipt(name: str) -> None:
    assert not RULES.is_ignored(name)


@pytest.mark.parametrize(
    ("patterns", "name"), [("*.json", "A.JSON"), ("x, b?.jpg ,", "b1.jpg"), ("[ab].jpg", "B.jpg")]
)
def test_a_setting_adds_patterns(patterns: str, name: str) -> None:
    assert NameRules(patterns).is_clutter(name)
    assert not RULES.is_ignored(name)
    assert not NameRules(patterns).is_ignored("other.jpg")
