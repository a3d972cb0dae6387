"""Images in the inbox and the sidecar beside them, in every order."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.conftest import wait_for
from tests.dicom_objects import as_file, grey_object, phantom_values
from tests.files import jpeg
from tests.filling import assert_consistent
from tests.unit.intake.test_watcher import Inbox
from worker.ledger.review import is_readable
from worker.ledger.tables import Image, Instance, Study

HEADER = "file,patient,age_years,sex,view\n"


@pytest.fixture
def make_inbox(tmp_path: Path) -> Iterator[Callable[..., Inbox]]:
    inboxes: list[Inbox] = []

    def make(**more: object) -> Inbox:
        inboxes.append(Inbox(tmp_path / "data", **{"settle_s": 0.0, **more}))
        return inboxes[-1]

    yield make
    for inbox in inboxes:
        assert_consistent(inbox.ledger)
        inbox.ledger.close()


def ages(inbox: Inbox) -> dict[str, float | None]:
    """Return the age of each image, by the name of its file."""
    with inbox.ledger.reading() as session:
        rows = session.execute(
            select(Image.original_name, Study.age_years).outerjoin(Image.instance).outerjoin(Instance.study)
        )
        return dict(rows.all())


def test_sidecar_stays_and_gets_no_receipt(make_inbox: Callable[..., Inbox]) -> None:
    inbox = make_inbox()
    sidecar = inbox.drop("ward/Identity.csv", (HEADER + "a.jpg,4711,3,F,PA\nb.jpg,4712,40,M,AP\n").encode())
    for number, name in enumerate(("ward/a.jpg", "ward/b.jpg", "c.jpg")):
        inbox.drop(name, jpeg(number))
    inbox.settle()
    inbox.settle()
    assert ages(inbox) == {"ward/a.jpg": 3, "ward/b.jpg": 40, "c.jpg": None}
    assert sidecar.exists()
    assert inbox.monitor.problem() is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who writes")
def test_image_waits_for_a_sidecar_that_is_being_written(make_inbox: Callable[..., Inbox]) -> None:
    """However long that takes: the image has rested as long as one waits for its line."""
    inbox = make_inbox(broken_off_s=0.0)
    inbox.drop("a.jpg", jpeg())
    with (inbox.folder / "identity.csv").open("w") as sidecar:
        sidecar.write(HEADER)
        sidecar.flush()
        inbox.settle()
        inbox.settle()
        assert ages(inbox) == {}
        sidecar.write("a.jpg,4711,3,F,PA\n")
    inbox.settle()
    assert ages(inbox) == {"a.jpg": 3}


def test_image_waits_until_its_sidecar_has_settled(make_inbox: Callable[..., Inbox]) -> None:
    """On a network share, no system says who writes."""
    inbox = make_inbox(broken_off_s=0.0)
    inbox.drop("a.jpg", jpeg())
    inbox.drop("identity.csv", (HEADER + "a.jpg,,4,,").encode())
    inbox.monitor.scan_once()
    inbox.drop("identity.csv", (HEADER + "a.jpg,,40,,\n").encode())
    inbox.monitor.scan_once()
    assert ages(inbox) == {}
    inbox.monitor.scan_once()
    assert ages(inbox) == {"a.jpg": 40}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who writes")
def test_image_without_a_line_waits_while_its_sidecar_is_written_again(
    make_inbox: Callable[..., Inbox],
) -> None:
    inbox = make_inbox(broken_off_s=0.0)
    inbox.drop("identity.csv", (HEADER + "a.jpg,,3,,\n").encode())
    inbox.drop("a.jpg", jpeg(1))
    inbox.settle()
    inbox.drop("b.jpg", jpeg(2))
    with (inbox.folder / "identity.csv").open("a") as sidecar:
        inbox.settle()
        assert ages(inbox) == {"a.jpg": 3}, "its size and time are the same, but a program has it open"
        sidecar.write("b.jpg,,40,,\n")
    inbox.settle()
    assert ages(inbox) == {"a.jpg": 3, "b.jpg": 40}


def test_image_waits_for_its_line(make_inbox: Callable[..., Inbox]) -> None:
    inbox = make_inbox(broken_off_s=3600.0)
    sidecar = inbox.drop("identity.csv", (HEADER + "a.jpg,,3,,\n").encode())
    inbox.drop("a.jpg", jpeg(1))
    inbox.drop("b.jpg", jpeg(2))
    inbox.settle()
    assert ages(inbox) == {"a.jpg": 3}
    with sidecar.open("a") as file:
        file.write("b.jpg,,40,,\n")
    inbox.settle()
    assert ages(inbox) == {"a.jpg": 3, "b.jpg": 40}


@pytest.mark.parametrize("content", [HEADER + "b.jpg,,3,,\n", HEADER + "a.jpg,,300,,\n", "nonsense"])
def test_image_without_a_valid_line_is_taken_without(make_inbox: Callable[..., Inbox], content: str) -> None:
    inbox = make_inbox(broken_off_s=0.2)
    inbox.drop("identity.csv", content.encode())
    inbox.drop("a.jpg", jpeg())

    def taken() -> bool:
        inbox.monitor.scan_once()
        return ages(inbox) == {"a.jpg": None}

    wait_for(taken)


def test_file_that_needs_no_line_waits_for_none(make_inbox: Callable[..., Inbox]) -> None:
    """A DICOM object says itself whose image it is."""
    inbox = make_inbox(broken_off_s=3600.0)
    inbox.drop("identity.csv", (HEADER + "a.jpg,,3,,\n").encode())
    inbox.drop("b.dcm", as_file(grey_object(phantom_values())))
    inbox.drop("c.jpg", jpeg())
    inbox.settle()
    assert inbox.names() == ["b.dcm"]


def test_first_sidecar_of_a_file_counts(make_inbox: Callable[..., Inbox]) -> None:
    """A file of which nothing was known may arrive again with a sidecar. Later ones change nothing."""
    inbox = make_inbox()
    inbox.drop("a.jpg", jpeg())
    inbox.settle()
    for age in (40, 3):
        inbox.drop("identity.csv", (HEADER + f"a.jpg,,{age},,\n").encode())
        inbox.drop("a.jpg", jpeg())
        inbox.settle()
        inbox.settle()
    counts = assert_consistent(inbox.ledger)
    assert (counts.received, counts.duplicates) == (3, 2)
    assert ages(inbox) == {"a.jpg": 40}


def test_wrong_line_is_told_until_it_is_corrected(make_inbox: Callable[..., Inbox]) -> None:
    inbox = make_inbox()
    sidecar = inbox.drop("DOE/identity.csv", (HEADER + "JOHN.jpg,4711,300,F,PA\n").encode())
    inbox.settle()
    told = "files and folders in the inbox: 1 identity.csv that must be corrected (line 2)"
    assert inbox.monitor.problem() == told
    inbox.monitor.scan_once()
    assert inbox.monitor.problem() == told, "it lies there still"
    sidecar.write_text(HEADER + "JOHN.jpg,4711,30,F,PA\n")
    inbox.settle()
    assert inbox.monitor.problem() is None


def test_link_in_place_of_a_sidecar_is_not_followed(make_inbox: Callable[..., Inbox], tmp_path: Path) -> None:
    inbox = make_inbox()
    (tmp_path / "elsewhere.csv").write_text(HEADER + "a.jpg,,40,,\n")
    (inbox.folder / "identity.csv").symlink_to(tmp_path / "elsewhere.csv")
    inbox.drop("a.jpg", jpeg())
    inbox.settle()
    assert ages(inbox) == {"a.jpg": None}


def test_stated_lateral_view_is_rejected(make_inbox: Callable[..., Inbox]) -> None:
    inbox = make_inbox()
    inbox.drop("identity.csv", (HEADER + "a.jpg,,3,,LL\n").encode())
    inbox.drop("a.jpg", jpeg())
    inbox.settle()
    with inbox.ledger.reading() as session:
        row = session.scalars(select(Image)).one()
    assert (row.state, row.reason_code) == ("rejected", "stated_view")
    assert is_readable(row)
