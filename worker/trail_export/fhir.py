"""The audit trail as a FHIR R4 bundle of AuditEvent resources.

Views follow the profiles Read and PatientRead, searches the profile Query of IHE's Basic Audit Log Patterns (ITI BALP
1.1), which build on http://hl7.org/fhir/R4/auditevent.html. Everything is an identifier of this installation: no name,
no reason, no address. Nightread records no network address, so `network` says that it is unknown.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from worker.ledger.accesses import AccessKind
from worker.ledger.actors import PROGRAM
from worker.ledger.audit_codes import Code, Meaning, meaning
from worker.ledger.trail import Entry

Document = dict[str, Any]

_BALP = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem/"
_ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
_IDS = "urn:nightread:"
_REST = {"system": f"{_TERMINOLOGY}audit-event-type", "code": "rest", "display": "Restful Operation"}
_OBJECT = {"system": f"{_TERMINOLOGY}audit-event-type", "code": "object", "display": "Object"}
_SYSTEM_OBJECT = {"system": f"{_TERMINOLOGY}audit-entity-type", "code": "2", "display": "System Object"}
_PERSON = {"system": f"{_TERMINOLOGY}audit-entity-type", "code": "1", "display": "Person"}
_SOURCE_ROLE, _DESTINATION_ROLE = Code("110153", "Source Role ID"), Code("110152", "Destination Role ID")
_SUCCESS, _MINOR_FAILURE = "0", "4"
# The interaction of each kind that is like a RESTful one.
_RESTFUL: dict[str, str] = {
    AccessKind.VIEW: "read",
    AccessKind.PREFETCH: "read",
    AccessKind.ORIGINAL: "read",
    AccessKind.SEARCH: "search",
}


def write(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield a bundle of the type `collection`, resource by resource."""
    yield '{"resourceType": "Bundle", "type": "collection", "entry": ['
    separator = "\n"
    for entry in entries:
        resource = audit_event(entry)
        document = {"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource}
        yield separator + json.dumps(document, ensure_ascii=False)
        separator = ",\n"
    yield "\n]}\n"


def audit_event(entry: Entry) -> Document:
    """Return the AuditEvent of an entry."""
    meant = meaning(entry.kind)
    interaction = _RESTFUL.get(entry.kind)
    return {
        "resourceType": "AuditEvent",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{_IDS}{entry.source}:{entry.number}")),
        **({"meta": {"profile": [_BALP + _profile(entry)]}} if interaction else {}),
        **_types(entry, meant, interaction),
        "action": meant.act.value,
        "recorded": entry.at.isoformat(timespec="milliseconds"),
        "outcome": _MINOR_FAILURE if meant.failed else _SUCCESS,
        "agent": _agents(entry, is_query=entry.kind == AccessKind.SEARCH),
        "source": {
            "observer": _who("program", PROGRAM),
            "type": [
                {
                    "system": f"{_TERMINOLOGY}security-source-type",
                    "code": "4",
                    "display": "Application Server",
                }
            ],
        },
        "entity": _entities(entry),
    }


def _profile(entry: Entry) -> str:
    if entry.kind == AccessKind.SEARCH:
        return "Query"
    return "Read" if entry.patient_key is None else "PatientRead"


def _types(entry: Entry, meant: Meaning, interaction: str | None) -> Document:
    own = {"system": f"{_IDS}kind", "code": entry.kind, "display": meant.words}
    dicom = [_coding(code) for code in (meant.event, meant.type) if code is not None]
    if interaction is not None:
        rest = {
            "system": "http://hl7.org/fhir/restful-interaction",
            "code": interaction,
            "display": interaction,
        }
        return {"type": _REST, "subtype": [rest, *dicom, own]}
    return {"type": dicom[0] if dicom else _OBJECT, "subtype": [*dicom[1:], own]}


def _agents(entry: Entry, *, is_query: bool) -> list[Document]:
    """Return who asked, from what, and Nightread itself. A query flows to the server, what is read flows from it."""
    client, server = (_SOURCE_ROLE, _DESTINATION_ROLE) if is_query else (_DESTINATION_ROLE, _SOURCE_ROLE)
    unknown = {"extension": [{"url": _ABSENT, "valueCode": "unknown"}]}
    agents: list[Document] = [
        {
            "type": {"coding": [_coding(server)]},
            "who": _who("program", PROGRAM),
            "requestor": entry.actor == PROGRAM,
            "network": unknown,
        }
    ]
    if entry.actor == PROGRAM:
        return agents
    kind = entry.actor.partition(":")[0]
    agents.append(
        {
            "type": {"coding": [_coding(client)]},
            "who": _who("client", kind),
            "requestor": False,
            "network": unknown,
        }
    )
    recipient = {
        "system": f"{_TERMINOLOGY}v3-ParticipationType",
        "code": "IRCP",
        "display": "information recipient",
    }
    agents.append({"type": {"coding": [recipient]}, "who": _who("actor", entry.actor), "requestor": True})
    return agents


def _entities(entry: Entry) -> list[Document]:
    if entry.kind == AccessKind.SEARCH:
        text = base64.b64encode(entry.code.encode()).decode()
        return [
            {"type": _SYSTEM_OBJECT, "role": _role("24", "Query"), "description": entry.code, "query": text}
        ]
    what = _who("subject", entry.subject or f"{entry.source}:{entry.number}")
    details = {"code": entry.code, "total": str(entry.total) if entry.total > 1 else ""}
    shown = [{"type": name, "valueString": value} for name, value in details.items() if value]
    data: Document = {"type": _SYSTEM_OBJECT, "role": _role("4", "Domain Resource"), "what": what}
    return [data | ({"detail": shown} if shown else {}), *_patient(entry)]


def _patient(entry: Entry) -> list[Document]:
    if entry.patient_key is None:
        return []
    what = {"type": "Patient", **_who("patient", entry.patient_key)}
    return [{"type": _PERSON, "role": _role("1", "Patient"), "what": what}]


def _role(code: str, display: str) -> Document:
    return {"system": f"{_TERMINOLOGY}object-role", "code": code, "display": display}


def _who(system: str, value: str) -> Document:
    return {"identifier": {"system": f"{_IDS}{system}", "value": value}}


def _coding(code: Code) -> Mapping[str, str]:
    return {"system": _DCM, "code": code.code, "display": code.meaning}
