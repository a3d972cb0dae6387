"""Only the phantoms of this installation count as phantoms."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.filling import assert_consistent
from tests.unit.intake.test_accept import Intake, intake
from worker.intake.phantoms import is_own_phantom
from worker.keyfile import secret_key
from worker.ledger.tables import Image
from worker.phantom import write_phantom

__all__ = ["intake"]  # the fixture


def phantom_in_ledger(intake: Intake, path: Path) -> bool:
    """Accept a file and return whether the ledger says that it is a phantom."""
    (accepted,) = intake.accept(path)
    with intake.ledger.reading() as session:
        return session.get_one(Image, accepted.image_id).phantom


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_phantom_of_this_installation_is_recorded_as_one(intake: Intake, name: str) -> None:
    key = secret_key(intake.settings.phantom_key_path)
    assert phantom_in_ledger(intake, write_phantom(intake.inbox / name, 1, width=200, key=key))
    assert_consistent(intake.ledger)


def test_phantom_of_another_installation_is_an_image_like_any_other(intake: Intake) -> None:
    secret_key(intake.settings.phantom_key_path)
    assert not phantom_in_ledger(intake, write_phantom(intake.inbox / "a.jpg", 1, width=200, key=bytes(32)))


def test_without_a_key_no_file_is_a_phantom_and_none_is_made(intake: Intake) -> None:
    assert not phantom_in_ledger(intake, write_phantom(intake.inbox / "a.jpg", 1, width=200, key=bytes(32)))
    assert not intake.settings.phantom_key_path.exists()


def test_rejected_phantom_is_recorded_as_one(intake: Intake) -> None:
    """The worker never looks at the mark, also after a retry."""
    key = secret_key(intake.settings.phantom_key_path)
    assert phantom_in_ledger(intake, write_phantom(intake.inbox / "a.jpg", 1, width=64, height=40, key=key))
    assert_consistent(intake.ledger)


def test_hash_covers_a_file_larger_than_its_header(tmp_path: Path) -> None:
    """The mark is looked for in the first 64 KB only."""
    path = write_phantom(tmp_path / "a.png", 1, width=600, key=secret_key(tmp_path / "key"))
    assert path.stat().st_size > 2 * 64 * 1024
    with path.open("rb") as file:
        assert is_own_phantom(file, tmp_path / "key")


@pytest.mark.parametrize("content", [None, b""])
def test_unusable_key_makes_no_phantom(tmp_path: Path, content: bytes | None) -> None:
    path = write_phantom(tmp_path / "a.jpg", 1, width=100, key=bytes(32))
    key_file = tmp_path / "key"
    key_file.mkdir() if content is None else key_file.write_bytes(content)
    with path.open("rb") as file:
        assert not is_own_phantom(file, key_file)
