"""Each image has one group in each dimension. What is not known is a group of its own."""

from __future__ import annotations

import pytest

from webui.monitor_query import DIMENSIONS
from webui.queue_view import AGES as AGES_OF_THE_QUEUE
from worker.ledger.monitored_groups import AGES, Dimension, Traits


@pytest.mark.parametrize(
    ("age", "group"),
    [
        (None, "unknown"),
        (0.0, "under-1"),
        (0.99, "under-1"),
        (1.0, "1-5"),
        (5.99, "1-5"),
        (6.0, "6-17"),
        (18.0, "18-64"),
        (65.0, "65-or-more"),
        (110.0, "65-or-more"),
    ],
)
def test_age_belongs_to_one_band(age: float | None, group: str) -> None:
    assert Traits(age_years=age).groups()[Dimension.AGE] == group


def test_ages_are_grouped_as_in_the_queue() -> None:
    assert [*AGES, "unknown"] == list(AGES_OF_THE_QUEUE)
    assert list(AGES.values())[:-1] == [end for _, end in AGES_OF_THE_QUEUE.values() if end is not None]


@pytest.mark.parametrize(
    ("width", "height", "group"),
    [
        (None, None, "unknown"),
        (2000, 511, "under-512"),
        (512, 2000, "512-1023"),
        (1024, 1024, "1024-2047"),
        (3000, 2048, "2048-or-more"),
    ],
)
def test_size_is_that_of_the_shorter_side(width: int | None, height: int | None, group: str) -> None:
    assert Traits(width=width, height=height).groups()[Dimension.SIZE] == group


def test_what_is_not_known_is_a_group_of_its_own() -> None:
    groups = Traits().groups()
    assert groups.pop(Dimension.ALL) == "all"
    assert set(groups.values()) == {"unknown"}
    assert Dimension.READER not in groups


def test_machine_and_sender_are_named_as_far_as_they_are_known() -> None:
    known = Traits(manufacturer="Agfa", station_class="CR", source="dicom", received_by="ae:WARD_2").groups()
    assert (known[Dimension.MACHINE], known[Dimension.SOURCE]) == ("Agfa CR", "dicom WARD_2")
    part = Traits(station_class="DX", source="dicom").groups()
    assert (part[Dimension.MACHINE], part[Dimension.SOURCE]) == ("unknown DX", "dicom")


def test_uploader_is_no_group() -> None:
    """Who uploaded a file is a person; only the titles of DICOM peers are told apart."""
    assert Traits(source="upload", received_by="user:3").groups()[Dimension.SOURCE] == "upload"


def test_page_has_words_for_every_dimension() -> None:
    assert list(DIMENSIONS) == [dimension.value for dimension in Dimension]
