"""worker.ledger.audit: properties of the canonical JSON text of a payload."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.ledger.audit import canonical

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)
PAYLOADS = st.dictionaries(TEXTS, VALUES, max_size=4)


def expected(value: Any) -> Any:
    """The value as JSON gives it back: floats are texts."""
    if isinstance(value, float):
        return format(value, ".6f")
    if isinstance(value, dict):
        return {key: expected(item) for key, item in value.items()}
    return [expected(item) for item in value] if isinstance(value, list) else value


def reordered(value: Any) -> Any:
    """The same value, with the keys of each object in the opposite order, and tuples for lists."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return tuple(reordered(item) for item in value) if isinstance(value, list) else value


@pytest.mark.slow
@given(PAYLOADS)
def test_canonical_text_gives_the_payload_back(payload: dict[str, Any]) -> None:
    assert json.loads(canonical(payload)) == expected(payload)


@given(PAYLOADS)
def test_order_of_keys_does_not_change_the_text(payload: dict[str, Any]) -> None:
    assert canonical(reordered(payload)) == canonical(payload)


@pytest.mark.slow
@given(PAYLOADS, PAYLOADS)
def test_different_payloads_have_different_texts(first: dict[str, Any], second: dict[str, Any]) -> None:
    # repr tells True from 1, as JSON does.
    same = repr(_sorted(expected(first))) == repr(_sorted(expected(second)))
    assert (canonical(first) == canonical(second)) is same


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted((key, _sorted(item)) for key, item in value.items())
    return [_sorted(item) for item in value] if isinstance(value, list) else value


@given(PAYLOADS)
def test_canonical_text_is_its_own_canonical_text(payload: dict[str, Any]) -> None:
    assert canonical(json.loads(canonical(payload))) == canonical(payload)


@given(st.dictionaries(st.sampled_from("ab"), st.lists(st.integers(), max_size=3)))
def test_canonical_text_has_no_space(payload: dict[str, Any]) -> None:
    assert not set(canonical(payload)) & set(" \n\t")
