"""worker.intake.lost_ledger: an empty ledger over a full store is told, and a first start is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.filling import fill, sha256
from tests.ledgers import current_ledger
from worker.errors import TransientFailure
from worker.intake.lost_ledger import LostLedger
from worker.ledger.session import Ledger
from worker.store import Area, Store


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return current_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.make()
    return made


def put(store: Store, folder: Path, number: int) -> None:
    source = folder / f"{number}.jpg"
    source.write_bytes(b"bytes")
    target = store._path_of(sha256(number), Area.IMAGES)
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


def test_empty_ledger_over_stored_images_is_told_until_they_are_known(
    ledger: Ledger, store: Store, tmp_path: Path
) -> None:
    put(store, tmp_path, 1)
    lost = LostLedger(ledger, store)
    fill(ledger, 2)
    with pytest.raises(TransientFailure, match="the ledger was empty at the start"):
        lost.check()
    fill(ledger, 1)
    lost.check()


def test_first_start_and_ledger_in_use_are_no_problem(ledger: Ledger, store: Store, tmp_path: Path) -> None:
    first_start = LostLedger(ledger, store)
    put(store, tmp_path, 1)
    first_start.check()
    fill(ledger, 2)
    LostLedger(ledger, store).check()


def test_missing_store_is_no_problem_of_the_ledger(ledger: Ledger, tmp_path: Path) -> None:
    LostLedger(ledger, Store(tmp_path / "nowhere")).check()
