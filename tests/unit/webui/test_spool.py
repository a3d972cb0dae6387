"""webui.spool: how long a body may be, and what the disk and all bodies together allow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import make_settings
from webui.spool import FORM_BYTES, Body, Refused, Spool, largest_body

UPLOAD = "/api/v1/images"
FLOOR = 1_000


def spool(folder: Path, free: int, max_bytes: int = 10**6) -> Spool:
    return Spool(make_settings(folder, min_free_bytes=FLOOR, max_bytes=max_bytes), lambda: free)


def expecting(of: Spool, path: str, length: int) -> Body:
    body = Body(of, path)
    body.expect(length)
    return body


def refusal(of: Spool, path: str, length: int) -> Refused:
    body = Body(of, path)
    with pytest.raises(Refused) as refused:
        body.expect(length)
    body.close()
    return refused.value


@pytest.mark.parametrize("path", ["/reader", "/review/1/decide", "/nosuch", "/api/v1/undo"])
def test_form_has_a_small_limit(tmp_path: Path, path: str) -> None:
    of = spool(tmp_path, 10**12)
    expecting(of, path, FORM_BYTES)
    assert refusal(of, path, FORM_BYTES + 1).code == 413


def test_upload_may_hold_eight_of_the_largest_files(tmp_path: Path) -> None:
    of = spool(tmp_path, 10**12)
    assert largest_body(UPLOAD, of.settings) > 8 * of.settings.max_bytes
    expecting(of, UPLOAD, 8 * of.settings.max_bytes)
    refused = refusal(of, UPLOAD, largest_body(UPLOAD, of.settings) + 1)
    assert refused.code == 413
    assert "Send fewer files" in refused.sentence


def test_each_request_reserves_its_space_and_its_copy(tmp_path: Path) -> None:
    of = spool(tmp_path, 5 * 10**6)
    first = expecting(of, UPLOAD, 2 * 10**6)
    assert refusal(of, UPLOAD, 2 * 10**6).code == 507
    first.close()
    expecting(of, UPLOAD, 2 * 10**6)


def test_reading_goes_on_while_the_disk_is_full(tmp_path: Path) -> None:
    expecting(spool(tmp_path, 0), "/review/1/decide", 100).add(100)


def test_disk_that_fills_up_meanwhile_stops_an_upload(tmp_path: Path) -> None:
    free = 10**9
    settings = make_settings(tmp_path, min_free_bytes=FLOOR)
    body = Body(Spool(settings, lambda: free), UPLOAD)
    body.expect(1_000)
    body.add(500)
    free = 0
    with pytest.raises(Refused) as refused:
        body.add(100)
    assert refused.value.code == 507


def test_body_of_unknown_length_is_counted_while_it_arrives(tmp_path: Path) -> None:
    body = Body(spool(tmp_path, 10**12), "/reader")
    body.expect(0)
    body.add(FORM_BYTES)
    with pytest.raises(Refused) as refused:
        body.add(1)
    assert refused.value.code == 413


def test_bytes_of_all_uploads_together_are_limited(tmp_path: Path) -> None:
    of = spool(tmp_path, 10**12)
    longest = largest_body(UPLOAD, of.settings)
    bodies = [expecting(of, UPLOAD, longest) for _ in range(4)]
    for body in bodies[:2]:
        body.add(longest)
    with pytest.raises(Refused) as refused:
        bodies[2].add(1)
    assert refused.value.code == 503
    bodies[0].close()
    bodies[3].add(longest - 1)
