"""Figures are worked out again when anything changed, and not for each request."""

from __future__ import annotations

import pytest

from tests.unit.ledger.test_read_cases import MODEL, NO_SIGNS, SIGNS, decide, night
from webui import versioned_cache
from webui.versioned_cache import VersionedCache
from worker.ledger import missed_cases, read_cases
from worker.ledger.session import Ledger
from worker.report.site_cases import SiteCases


def cases_of(cache: VersionedCache[SiteCases], ledger: Ledger) -> SiteCases:
    with ledger.reading() as session:
        runs = list(missed_cases.extent(session).runs)

        def read() -> SiteCases:
            found = read_cases.read_cases(session, runs, MODEL)
            return SiteCases.of(found.images, found.score_first)

        return cache.get(runs, read_cases.version(session), read)


def test_cases_are_read_again_after_a_reading(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versioned_cache, "_KEEP_FACTOR", 0.0)
    cache, ids = VersionedCache[SiteCases](), night(ledger)
    assert len(cases_of(cache, ledger).every) == 0, "no run is read to the end"
    for image_id in (*ids[:3], ids[4]):
        decide(ledger, image_id, SIGNS)
    first = cases_of(cache, ledger)
    assert (first.shown, first.sampled) == ((3, 0), (1, 0))
    assert cases_of(cache, ledger) is first
    decide(ledger, ids[3], NO_SIGNS)
    assert cases_of(cache, ledger) is not first, (
        "a reading that changes nothing here cannot be told from one that does"
    )


def test_readings_meanwhile_do_not_make_every_request_wait(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versioned_cache, "_KEEP_FACTOR", 1e9)
    cache, ids = VersionedCache[SiteCases](), night(ledger)
    for image_id in (*ids[:3], ids[4]):
        decide(ledger, image_id, SIGNS)
    first = cases_of(cache, ledger)
    decide(ledger, ids[3], NO_SIGNS)
    assert cases_of(cache, ledger) is first
