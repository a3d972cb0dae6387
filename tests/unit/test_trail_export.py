"""worker.trail_export: the audit trail as CSV and as FHIR AuditEvent, with ids and codes only."""

from __future__ import annotations

import base64
import csv
import io
import json
import uuid
from itertools import product
from typing import Any

import pytest

from tests.filling import AT
from worker.ledger.audit_codes import MEANINGS
from worker.ledger.trail import Entry
from worker.trail_export import csv_rows, fhir

VIEW = Entry("access", 7, AT, "view", "user:3", 5, "image:5", "page", patient_key="a1b2")
SEARCH = Entry("access", 8, AT, "search", "token:2", None, "", "flagged/unread")
SCORED = Entry("event", 9, AT, "scored", "nightread", 5, "image:5")
REFUSAL = Entry("access", 10, AT, "refusal", "anonymous", None, "", "401:queue.show", 12)
ALL = (VIEW, SEARCH, SCORED, REFUSAL)


def codes(values: list[dict[str, str]]) -> list[str]:
    return [value["code"] for value in values]


def resources(*entries: Entry) -> list[dict[str, Any]]:
    bundle = json.loads("".join(fhir.write(entries)))
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "collection")
    for item in bundle["entry"]:
        assert item["fullUrl"] == f"urn:uuid:{uuid.UUID(item['resource']['id'])}"
    return [item["resource"] for item in bundle["entry"]]


def test_csv_has_a_row_with_the_codes_of_each_entry() -> None:
    rows = list(csv.DictReader(io.StringIO("".join(csv_rows.write(ALL)))))
    assert [row["kind"] for row in rows] == ["view", "search", "scored", "refusal"]
    assert rows[0] == {
        "at": "2026-03-01T22:00:00.000000+00:00", "source": "access", "number": "7", "kind": "view",
        "meaning": "Image viewed", "actor": "user:3", "subject": "image:5", "image": "5", "patient_key": "a1b2",
        "code": "page", "total": "1", "dicom_event": "110103", "dicom_event_type": "", "dicom_action": "R",
    }  # fmt: skip
    assert (rows[3]["dicom_event"], rows[3]["dicom_event_type"], rows[3]["total"]) == (
        "110113",
        "110132",
        "12",
    )


def test_view_of_a_known_patient_is_a_patient_read_of_balp() -> None:
    (view,) = resources(VIEW)
    assert view["meta"]["profile"] == [
        "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.PatientRead"
    ]
    assert (view["type"]["code"], view["action"], view["outcome"]) == ("rest", "R", "0")
    assert codes(view["subtype"]) == ["read", "110103", "view"]
    assert view["recorded"] == "2026-03-01T22:00:00.000+00:00"
    agents = {agent["type"]["coding"][0]["code"]: agent for agent in view["agent"]}
    assert set(agents) == {"110152", "110153", "IRCP"}
    assert agents["IRCP"]["who"]["identifier"]["value"] == "user:3"
    assert [agent["requestor"] for agent in view["agent"]].count(True) == 1
    data, patient = view["entity"]
    assert (data["type"]["code"], data["role"]["code"]) == ("2", "4")
    assert data["what"]["identifier"]["value"] == "image:5"
    assert (patient["type"]["code"], patient["role"]["code"]) == ("1", "1")
    assert patient["what"]["identifier"]["value"] == "a1b2"


def test_search_is_a_query_of_balp() -> None:
    (search,) = resources(SEARCH)
    assert search["meta"]["profile"][0].endswith("IHE.BasicAudit.Query")
    assert (codes(search["subtype"])[0], search["action"]) == ("search", "E")
    (query,) = search["entity"]
    assert query["role"]["code"] == "24"
    assert base64.b64decode(query["query"]) == b"flagged/unread"


def test_other_entries_have_the_code_of_dicom_or_their_own() -> None:
    scored, refusal = resources(SCORED, REFUSAL)
    assert (scored["type"]["code"], codes(scored["subtype"])) == ("object", ["scored"])
    assert [agent["requestor"] for agent in scored["agent"]] == [True]
    assert (refusal["type"]["code"], codes(refusal["subtype"])) == ("110113", ["110132", "refusal"])
    assert refusal["outcome"] == "4"
    assert {detail["type"]: detail["valueString"] for detail in refusal["entity"][0]["detail"]} == {
        "code": "401:queue.show",
        "total": "12",
    }


def test_every_kind_can_be_exported_and_nothing_is_a_bundle_too() -> None:
    entries = [Entry("event", number, AT, kind, "os:0", None, "x:1") for number, kind in enumerate(MEANINGS)]
    assert len(resources(*entries)) == len({one["id"] for one in resources(*entries)}) == len(MEANINGS)
    assert resources() == []


@pytest.mark.slow
def test_every_kind_is_a_valid_resource_of_fhir_r4() -> None:
    from fhir.resources.R4B.bundle import Bundle  # 2 s

    entries = [
        Entry("event", number, AT, kind, actor, 5, "image:5", code="page", total=2, patient_key=key)
        for number, (kind, actor, key) in enumerate(
            product(MEANINGS, ("nightread", "user:3", "anonymous"), (None, "a1b2"))
        )
    ]
    bundle = Bundle.model_validate_json("".join(fhir.write(entries)))
    assert len(bundle.entry or ()) == len(entries)
