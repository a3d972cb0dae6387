from __future__ import annotations

import pytest

from tests import bombs
from tests.files import encoded, grey, jpeg
from worker.errors import RejectedImage
from worker.imagefile.scans import MOST_SCANS, has_too_many_scans
from worker.inference.preprocess import decode_film


def test_a_scan_bomb_is_rejected_before_it_is_decoded() -> None:
    bomb = bombs.scans(bombs.LARGE, bombs.LARGE, 100_000)
    assert len(bomb) < 16_000_000
    with pytest.raises(RejectedImage) as rejected:
        decode_film(bomb, 64)
    assert rejected.value.code == "too_many_scans"
    assert rejected.value.sentence == "The JPEG has more than 100 scans. Export it again."


def test_the_limit_of_scans_is_exact() -> None:
    assert decode_film(bombs.scans(400, 300, MOST_SCANS), 64).grey.shape == (64, 64)
    assert has_too_many_scans(bombs.scans(400, 300, MOST_SCANS + 1))


def test_usual_files_have_few_scans() -> None:
    for options in ({}, {"progressive": True}, {"restart_marker_blocks": 1}):
        assert not has_too_many_scans(encoded(grey().convert("RGB"), "JPEG", **options))


def test_scan_markers_in_other_data_do_not_count() -> None:
    many = b"\xff\xda\x00\x02" * (MOST_SCANS + 1)
    data = jpeg()
    assert not has_too_many_scans(data[:2] + bombs.segment(0xE2, many) + data[2:]), "in a profile"
    assert not has_too_many_scans(data + bytes(2) + many), "after the end"
    assert has_too_many_scans(data[:-2] + many + data[-2:])


def test_endless_segments_count_as_too_many_scans() -> None:
    data = jpeg()
    assert has_too_many_scans(data[:-2] + bombs.segment(0xFE, b"") * 100_000 + data[-2:])


def test_markers_without_a_length_hide_no_scans() -> None:
    first = b"\xff\xda"
    start, _, rest = bombs.scans(400, 300, MOST_SCANS + 1).partition(first)
    hidden = start + first + rest.replace(b"\xff\xda", b"\xff\x01\xff\xda")
    assert has_too_many_scans(hidden)
