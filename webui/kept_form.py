"""A form that asks for a reason and could not be followed: the page that says why keeps what the person typed."""

from __future__ import annotations

from dataclasses import dataclass

from flask import request
from werkzeug.exceptions import HTTPException

_CODES = {400, 404, 409}
_REASONS = ("why", "reason")
# What people type into these forms, and its name. The page of the error sends all other fields again as they are.
_TYPED = {
    "why": "Reason, which is recorded",
    "reason": "Reason, which is recorded",
    "name": "Name",
    "band_high": "Flagged from (upper end of the band)",
    "threshold": "Threshold of the figures",
    "band_low": "Clear below (lower end of the band)",
    "age_from": "Ages from",
    "age_to": "Ages to",
    "days": "Days",
    "images": "Images",
    "since": "Since this day",
    "sample_per_cent": "Clear images to draw, in per cent",
    "other_finding": "Other finding",
    "note": "Note",
}


@dataclass(frozen=True)
class KeptForm:
    """The fields of a form, to be sent again.

    Attributes:
        address: where it was sent.
        typed: name, label and text of the fields that people type, the reason last.
        others: name and value of the other fields.
    """

    address: str
    typed: list[tuple[str, str, str]]
    others: list[tuple[str, str]]


def kept_form(code: int) -> KeptForm | None:
    """Return the form of the request if it has a reason and the response is that it could not be followed, else None."""
    if code not in _CODES or request.method != "POST":
        return None
    try:
        form = request.form
    except HTTPException:
        # The form itself is damaged: the response says so.
        return None
    if not any(form.get(name, "").strip() for name in _REASONS):
        return None
    fields = list(form.items(multi=True))
    typed = [(name, _TYPED[name], text) for name, text in fields if name in _TYPED]
    typed.sort(key=lambda field: field[0] in _REASONS)
    others = [(name, text) for name, text in fields if name not in _TYPED]
    return KeptForm(request.full_path.removesuffix("?"), typed, others)
