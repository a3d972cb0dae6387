"""worker.ledger.audit_codes: every kind of event and of access has a meaning."""

from __future__ import annotations

import re

from worker.config import ROOT
from worker.ledger import trail_facts
from worker.ledger.accesses import AccessKind
from worker.ledger.audit_codes import MEANINGS, meaning


def test_each_kind_that_the_program_appends_has_a_meaning() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "worker").rglob("*.py"))
    appended = set(re.findall(r'\b(?:Event\(\s*|_record(?:_number)?\(session, )"([a-z_]+)"', source))
    proven = {*trail_facts._IMAGE_EVENTS, *trail_facts._ROW_EVENTS}
    assert len(appended) > 10
    assert sorted((appended | proven) - set(MEANINGS)) == []


def test_each_kind_of_access_has_a_code_of_dicom() -> None:
    assert [kind for kind in AccessKind if MEANINGS[kind].event is None] == []


def test_kind_of_a_later_version_has_its_name() -> None:
    assert meaning("a_kind_of_a_later_version").words == "A kind of a later version"
