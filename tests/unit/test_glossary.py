"""docs/glossary.md defines every value that people meet."""

from __future__ import annotations

import re
from enum import StrEnum

import pytest

from worker.card.population import Population
from worker.config import ROOT
from worker.inference.triage import Verdict
from worker.ledger.accesses import AccessKind
from worker.ledger.findings import Action, Finding
from worker.ledger.roles import Scope
from worker.ledger.states import ImageState, Lane, Outcome, ReviewState, Source

ROWS = re.findall(r"^\| (.+?) \| (.+) \|$", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
TERMS = "\n".join(term for term, _ in ROWS)
TEXT = "\n".join(f"{term} {meaning}" for term, meaning in ROWS)


@pytest.mark.parametrize("value", [*ImageState, *Outcome, *Verdict, *ReviewState], ids=str)
def test_each_state_outcome_and_verdict_has_an_entry(value: StrEnum) -> None:
    assert f"`{value}`" in TERMS


@pytest.mark.parametrize(
    "value", [*Finding, *Action, *Source, *Lane, *Scope, *AccessKind, *Population], ids=str
)
def test_each_other_value_is_explained(value: StrEnum) -> None:
    assert f"`{value}`" in TEXT


def test_no_term_is_defined_twice() -> None:
    terms = [term for term, _ in ROWS if term != "term"]
    assert sorted(set(terms)) == sorted(terms)
