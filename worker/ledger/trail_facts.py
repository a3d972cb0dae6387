"""Derives from the events of the audit trail which values the rows of the tables must have. Pure.

A fact is a column and its value at the last event about it. The name of a fact says how it is held:

- `verdict`: the value itself.
- `note_seal`: the seal of the column `note` under the salt of its row (`worker.ledger.seals`).
- `reason_sha256`: the SHA-256 of the column `reason`. Events of version 0.2.0 and
  earlier also hold such hashes of text that a person typed.

Events of version 0.2.0 and earlier hold fewer facts. `PROVEN` lists what the events of this version prove.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.ledger.states import ImageState, Outcome, ReviewState

Facts = dict[str, object]

CROP = ("crop_left", "crop_top", "crop_right", "crop_bottom")
# What the row of an image has while it is scored.
_SCORE = ("verdict", "p_pneumonia", "scored_at", "review_state")

# The columns of each table whose values follow from the audit trail.
PROVEN: dict[str, tuple[str, ...]] = {
    "run": ("started_at", "name"),
    "user": ("created_at", "name"),
    "model": ("sha256", "name", "version", "card", "active_since"),
    "operating_point": ("model_id", "name", "threshold", "band_low", "band_high", "set_at"),
    "image": (
        "sha256", "bytes", "format", "width", "height", "phantom", "run_id", "lane", "state", "received_at",
        "reason_code", "reason", "retry_reason", "verdict", "p_pneumonia", "scored_at", "review_state",
    ),
    "receipt": (
        "source", "original_name", "sha256", "bytes", "outcome", "reason_code", "reason", "image_id", "run_id",
        "received_at", "received_by",
    ),
    "prediction": (
        "operating_point_id", "p_normal", "p_bacterial", "p_viral", "p_pneumonia", "confidence", "verdict",
        "activation", "versions", "finished_at", *CROP,
    ),
    "rescore": ("image_id", "prediction_id", "reason_code", "at", "seen_by_id", "seen_at"),
    "review": ("image_id", "prediction_id", "user_id", "action", "finding", "note", "undoes_id", "at"),
}  # fmt: skip


@dataclass(frozen=True)
class TrailEvent:
    """An event as it was read; a payload that is no JSON object counts as empty."""

    at: str
    kind: str
    actor: str
    subject: str
    payload: Mapping[str, Any]

    @classmethod
    def parse(cls, at: str, kind: str, actor: str, subject: str, payload: str) -> TrailEvent:
        """Return the event with its payload parsed. No payload of ours holds lists or objects."""
        try:
            parsed = json.loads(payload)
        except ValueError:
            parsed = None
        details = parsed.items() if isinstance(parsed, dict) else ()
        flat = {name: value for name, value in details if not isinstance(value, dict | list)}
        return cls(at, kind, actor, subject, flat)


@dataclass
class ImageTrail:
    """The facts that the events about one image give about its row and about the rows that belong to it.

    Attributes:
        image: facts about the row of the image; empty if no event says that it arrived.
        first_receipt: id of the receipt that brought the image.
        receipts: facts about each receipt, by id.
        predictions: facts about each prediction, by the SHA-256 of its model.
        reviews: facts about each reading, by id.
        rescores: facts about each time that the image lost its score to be scored again, by id.
    """

    image: Facts = field(default_factory=dict)
    first_receipt: object = None
    receipts: dict[object, Facts] = field(default_factory=dict)
    predictions: dict[object, Facts] = field(default_factory=dict)
    reviews: dict[object, Facts] = field(default_factory=dict)
    rescores: dict[object, Facts] = field(default_factory=dict)


def image_facts(image_id: int, events: Iterable[TrailEvent]) -> ImageTrail:
    """Follow the events about an image, in their order."""
    facts = ImageTrail()
    for event in events:
        follow = _IMAGE_EVENTS.get(event.kind)
        if follow is not None:
            follow(facts, event, image_id)
    return facts


def row_facts(events: Iterable[TrailEvent]) -> Facts:
    """Return what the events about a run, a reader, a model or an operating point say."""
    facts: Facts = {}
    for event in events:
        describe = _ROW_EVENTS.get(event.kind)
        if describe is not None:
            facts |= describe(event)
    return facts


def _received(facts: ImageTrail, event: TrailEvent, image_id: int) -> None:
    said = event.payload
    arrival = {
        **_chosen(said, "sha256", "bytes", "reason_sha256"),
        "reason_code": said.get("reason"),
        **({"reason": None} if said.get("reason") is None else {}),
        "received_at": event.at,
        **_renamed(said, run="run_id"),
    }
    facts.receipts[said.get("receipt")] = {
        **arrival,
        **_chosen(said, "outcome", "source", "original_name_seal", "received_by_seal"),
        "image_id": image_id,
    }
    if said.get("outcome") != Outcome.DUPLICATE and not facts.image:
        rejected = said.get("outcome") == Outcome.REJECTED
        facts.first_receipt = said.get("receipt")
        facts.image = {
            **arrival,
            **_chosen(said, "format", "width", "height", "phantom", "lane"),
            "state": ImageState.REJECTED if rejected else ImageState.PENDING,
            **dict.fromkeys((*_SCORE, "retry_reason")),
        }


def _scored(facts: ImageTrail, event: TrailEvent, _image_id: int) -> None:
    said = event.payload
    numbers = _chosen(said, "p_normal", "p_bacterial", "p_viral", "p_pneumonia", "confidence", "verdict")
    facts.predictions[said.get("model")] = {
        **numbers,
        **_renamed(said, operating_point="operating_point_id"),
        **_chosen(said, "activation_sha256", "versions_sha256", *CROP),
        "finished_at": event.at,
    }
    facts.image |= {
        **_chosen(said, "verdict", "p_pneumonia", "format", "width", "height", "phantom"),
        **_state(facts, ImageState.SCORED),
        "scored_at": event.at,
        "review_state": ReviewState.UNREAD,
    }


def _rescored(facts: ImageTrail, event: TrailEvent, image_id: int) -> None:
    said = event.payload
    facts.rescores[said.get("rescore")] = {
        "image_id": image_id,
        **_renamed(said, prediction="prediction_id", reason="reason_code"),
        "at": event.at,
        "seen_by_id": None,
        "seen_at": None,
    }
    facts.image |= {**_state(facts, ImageState.PENDING), **dict.fromkeys(_SCORE)}


def _rescore_seen(facts: ImageTrail, event: TrailEvent, _image_id: int) -> None:
    seen = {"seen_by_id": _user_id(event), "seen_at": event.at}
    facts.rescores.setdefault(event.payload.get("rescore"), {}).update(seen)


def _restored(facts: ImageTrail, event: TrailEvent, _image_id: int) -> None:
    prediction = facts.predictions.get(event.payload.get("model"), {})
    facts.image |= {
        **_chosen(prediction, "verdict", "p_pneumonia"),
        **_renamed(prediction, finished_at="scored_at"),
        **_state(facts, ImageState.SCORED),
        "review_state": ReviewState.UNREAD,
    }


def _ended(state: ImageState) -> Callable[[ImageTrail, TrailEvent, int], None]:
    """Return what follows from an event that ends a lease without a score."""

    def follow(facts: ImageTrail, event: TrailEvent, _image_id: int) -> None:
        facts.image |= _state(facts, state)
        if state is not ImageState.PENDING:
            # The reason is now another one, and events of version 0.2.0 do not hold its sentence.
            facts.image.pop("reason", None)
            facts.image |= {
                "reason_code": event.payload.get("reason"),
                **_chosen(event.payload, "reason_sha256"),
            }

    return follow


def _retried(facts: ImageTrail, event: TrailEvent, _image_id: int) -> None:
    facts.image.pop("retry_reason", None)
    facts.image.pop("retry_reason_seal", None)
    facts.image |= {
        **_state(facts, ImageState.PENDING),
        **_chosen(event.payload, "retry_reason_seal"),
        **_renamed(event.payload, why_sha256="retry_reason_sha256"),
    }


def _read(facts: ImageTrail, event: TrailEvent, image_id: int) -> None:
    said = event.payload
    facts.reviews[said.get("review")] = {
        **_renamed(said, prediction="prediction_id"),
        **_chosen(said, "action", "finding", "note_seal", "note_sha256"),
        **_by(event, image_id),
        "undoes_id": None,
    }
    facts.image["review_state"] = ReviewState.READ


def _undone(facts: ImageTrail, event: TrailEvent, image_id: int) -> None:
    undone = event.payload.get("undoes")
    facts.reviews[event.payload.get("review")] = {
        **_by(event, image_id),
        **_chosen(facts.reviews.get(undone, {}), "prediction_id"),
        "action": "undo",
        "undoes_id": undone,
        "finding": None,
        "note": "",
    }
    facts.image["review_state"] = ReviewState.UNREAD


def _by(event: TrailEvent, image_id: int) -> Facts:
    return {"image_id": image_id, "user_id": _user_id(event), "at": event.at}


def _user_id(event: TrailEvent) -> int | None:
    user = event.actor.removeprefix("user:")
    return int(user) if user.isdecimal() else None


def _state(facts: ImageTrail, state: ImageState) -> Facts:
    """Return the facts of an image that enters a state without a reason."""
    facts.image.pop("reason_sha256", None)
    return {"state": state, "reason_code": None, "reason": None}


def _chosen(said: Mapping[str, Any], *names: str) -> Facts:
    return {name: said[name] for name in names if name in said}


def _renamed(said: Mapping[str, Any], **names: str) -> Facts:
    return {column: said[name] for name, column in names.items() if name in said}


_IMAGE_EVENTS: dict[str, Callable[[ImageTrail, TrailEvent, int], None]] = {
    "received": _received,
    "scored": _scored,
    "rejected": _ended(ImageState.REJECTED),
    "quarantined": _ended(ImageState.QUARANTINED),
    "returned": _ended(ImageState.PENDING),
    "retried": _retried,
    "rescored": _rescored,
    "rescore_seen": _rescore_seen,
    "restored": _restored,
    "read": _read,
    "read_undone": _undone,
}

_ROW_EVENTS: dict[str, Callable[[TrailEvent], Facts]] = {
    "run_started": lambda event: {"started_at": event.at, **_chosen(event.payload, "name_seal")},
    "reader_added": lambda event: {"created_at": event.at, **_chosen(event.payload, "name_seal")},
    "model_registered": lambda event: {
        "active_since": event.at,
        **_chosen(event.payload, "sha256", "name", "version", "card_sha256"),
    },
    "operating_point_set": lambda event: {
        "set_at": event.at,
        **_renamed(event.payload, model="model_id"),
        **_chosen(event.payload, "name", "threshold", "band_low", "band_high"),
    },
}
