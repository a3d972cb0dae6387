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
from datetime import datetime
from typing import Any, NamedTuple

from worker.card.band import is_never_clear
from worker.ledger import actors
from worker.ledger.findings import Action, state_after
from worker.ledger.point_groups import Traits
from worker.ledger.retriage_rule import Rule
from worker.ledger.states import ImageState, Outcome, ReviewState

Facts = dict[str, object]
# The kind of the events that are about all unread images at once. Their subject is the operating point.
RETRIAGED = "retriaged"

CROP = ("crop_left", "crop_top", "crop_right", "crop_bottom")
LUNGS = ("lungs_left", "lungs_top", "lungs_right", "lungs_bottom")
# What events say of an instance and of a study. Both are sealed, but for what leads to nobody.
_INSTANCE = (
    "study_id_seal", "series_uid_seal", "instance_uid_seal", "view", "laterality", "manufacturer", "station_class",
)  # fmt: skip
_STUDY = ("study_uid_seal", "accession_seal", "patient_key_seal", "age_years_seal", "age_source", "sex_seal")
# What the row of an image has while it is scored.
_SCORE = (
    "verdict", "p_pneumonia", "population", "distance", "scored_at", "review_state", "drawn_rank",
    "operating_point_id", "point_group",
)  # fmt: skip
# What the readings of earlier versions do not have: words beside the note, and the rest.
_TYPED = ("other_finding", "why")
_VISIBILITY = ("score_shown", "map_shown", "open_ms")
_PROTOCOL = ("stage", "leads_to", "protocol_id")
_NO_READING: Facts = dict.fromkeys(("reason_code", "undoes_id", "supersedes_id", *_VISIBILITY, *_PROTOCOL))

# The columns of each table whose values follow from the audit trail.
PROVEN: dict[str, tuple[str, ...]] = {
    "run": ("started_at", "name"),
    "user": ("created_at", "name", "roles", "disabled_at", "passphrase_hash"),
    "api_token": ("owner_id", "name", "key_hash", "scopes", "created_at", "expires_at", "revoked_at"),
    "identity": ("user_id", "issuer", "subject", "added_at"),
    "totp": ("user_id", "secret", "added_at", "removed_at"),
    "passkey": ("user_id", "name", "credential_id", "public_key", "added_at", "removed_at"),
    "study": ("study_uid", "accession", "patient_key", "age_years", "age_source", "sex", "added_at"),
    "instance": (
        "image_id", "study_id", "series_uid", "instance_uid", "view", "laterality", "manufacturer", "station_class",
    ),
    "site_key": ("fingerprint", "at"),
    "model": ("sha256", "name", "version", "card", "active_since"),
    "operating_point": ("model_id", "name", "threshold", "band_low", "band_high", "set_at"),
    "image": (
        "sha256", "bytes", "format", "width", "height", "phantom", "run_id", "lane", "state", "received_at",
        "reason_code", "reason", "retry_reason", "verdict", "p_pneumonia", "population", "distance", "scored_at",
        "review_state", "drawn_rank", "operating_point_id", "point_group", "bytes_removed_at",
    ),
    "receipt": (
        "source", "original_name", "sha256", "bytes", "outcome", "reason_code", "reason", "image_id", "run_id",
        "received_at", "received_by",
    ),
    "prediction": (
        "operating_point_id", "p_normal", "p_bacterial", "p_viral", "p_pneumonia", "confidence", "verdict",
        "activation", "versions", "finished_at", *CROP, *LUNGS, "population", "distance", "greyscale",
        "point_group",
    ),
    "rescore": ("image_id", "prediction_id", "reason_code", "at", "seen_by_id", "seen_at"),
    "erasure": ("image_id", "reason", "at"),
    "review": (
        "image_id", "prediction_id", "user_id", "action", "finding", "reason_code", "note", "other_finding", "why",
        "undoes_id", "supersedes_id", "score_shown", "map_shown", "open_ms", *_PROTOCOL, "at",
    ),
    "site_setting": ("name", "value", "set_by", "why", "at"),
    "site_calibration": ("model_id", "version", "intercept", "slope", "prevalence", "cases_digest", "figures", "at"),
    "shadow_prediction": (
        "image_id", "model_id", "outcome", "p_normal", "p_bacterial", "p_viral", "p_pneumonia", "cropped", "population",
        "distance", "versions", "at",
    ),
    "access_batch": ("first_id", "last_id", "total", "sha256", "at"),
}  # fmt: skip


class TrailEvent(NamedTuple):
    """An event as it was read; a payload that is no JSON object counts as empty."""

    at: str
    kind: str
    actor: str
    subject: str
    payload: Mapping[str, Any]
    seq: int = 0

    @classmethod
    def parse(cls, at: str, kind: str, actor: str, subject: str, payload: str, seq: int = 0) -> TrailEvent:
        """Return the event with its payload parsed. No payload of ours holds lists or objects."""
        try:
            parsed = json.loads(payload)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            parsed = {}
        elif "[" in payload or payload.count("{") > 1:
            parsed = {name: value for name, value in parsed.items() if not isinstance(value, (dict, list))}
        return cls(at, kind, actor, subject, parsed, seq)


@dataclass(frozen=True)
class AppliedPoint:
    """Which operating point an event applied to an image, for which group, and what was known of the image then.

    `group` is the key of a group; None: the general point.
    """

    seq: int
    model: object
    group: object
    operating_point: object
    traits: Traits


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
        erasures: facts about the erasure of the image, by id. If there is one, no row may hold a text.
        instances: facts about how the image was taken, by id. There is at most one.
        model: the SHA-256 of the model of the prediction in force; None without one.
        scores: the exact scores, by the SHA-256 of the model: the trail holds six decimals.
        age_years: the age that the ledger holds: the trail holds its seal.
        applied: the operating points that events applied when the image was scored, in their order.
    """

    image: Facts = field(default_factory=dict)
    first_receipt: object = None
    receipts: dict[object, Facts] = field(default_factory=dict)
    predictions: dict[object, Facts] = field(default_factory=dict)
    reviews: dict[object, Facts] = field(default_factory=dict)
    rescores: dict[object, Facts] = field(default_factory=dict)
    erasures: dict[object, Facts] = field(default_factory=dict)
    instances: dict[object, Facts] = field(default_factory=dict)
    model: object = None
    scores: Mapping[str, float] = field(default_factory=dict)
    age_years: float | None = None
    applied: list[AppliedPoint] = field(default_factory=list)

    @property
    def traits(self) -> Traits:
        """What was known of the image after the events so far. An age is known from the event of the instance on."""
        source = self.receipts.get(self.first_receipt, {}).get("source")
        return Traits(self.age_years if self.instances else None, None if source is None else str(source))


def image_facts(
    image_id: int,
    events: Iterable[TrailEvent],
    scores: Mapping[str, float] | None = None,
    age_years: float | None = None,
) -> ImageTrail:
    """Follow the events about an image, and the re-triages of all images, in their order.

    `scores` are those of its predictions, by the SHA-256 of their models. A re-triage compares a score with all its digits,
    and the trail proves the first six. `age_years` is the age of its patient that the ledger holds, whose seal the trail
    has: it decides the group of the image.
    """
    facts = ImageTrail(scores=scores or {}, age_years=age_years)
    for event in events:
        follow = _IMAGE_EVENTS.get(event.kind)
        if follow is not None:
            follow(facts, event, image_id)
    return facts


def row_facts(events: Iterable[TrailEvent]) -> Facts:
    """Return what the events about a row of any table say that does not belong to an image."""
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
    _identified(facts, event, image_id)
    if facts.image:
        # The bytes of a file that arrives again are in the store again.
        facts.image["bytes_removed_at"] = None


def _identified(facts: ImageTrail, event: TrailEvent, image_id: int) -> None:
    """Follow what an event says of the image's instance: when it was added, and when numbers were removed from it."""
    instance = event.payload.get("instance")
    if instance is not None:
        said = _chosen(event.payload, *_INSTANCE)
        facts.instances[instance] = {"image_id": image_id, **said}


def _scored(facts: ImageTrail, event: TrailEvent, _image_id: int) -> None:
    said = event.payload
    numbers = _chosen(said, "p_normal", "p_bacterial", "p_viral", "p_pneumonia", "confidence", "verdict")
    facts.predictions[said.get("model")] = {
        **numbers,
        **_renamed(said, operating_point="operating_point_id"),
        **_chosen(said, "activation_sha256", "versions_sha256", *CROP, "population"),
        # Only the events of models with a lung network have them.
        **{name: said.get(name) for name in LUNGS},
        # Only those of models that say it have it.
        "distance": said.get("distance"),
        # Only the events of DICOM objects have it.
        "greyscale_sha256": said.get("greyscale_sha256"),
        # Only those of images in a group with a point have it.
        "point_group": said.get("point_group"),
        "finished_at": event.at,
    }
    facts.image |= {
        **_chosen(said, "verdict", "p_pneumonia", "population", "format", "width", "height", "phantom"),
        **_state(facts, ImageState.SCORED),
        "distance": said.get("distance"),
        "scored_at": event.at,
        # Only the events of drawn images have it.
        "drawn_rank": said.get("drawn_rank"),
        "operating_point_id": None,
        "point_group": None,
    }
    facts.model = said.get("model")
    facts.image["review_state"] = _unread(facts)
    _apply_point(facts, event)


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
    seen = {"seen_by_id": actors.user_id(event.actor), "seen_at": event.at}
    facts.rescores.setdefault(event.payload.get("rescore"), {}).update(seen)


def _restored(facts: ImageTrail, event: TrailEvent, _image_id: int) -> None:
    prediction = facts.predictions.get(event.payload.get("model"), {})
    facts.image |= {
        **_chosen(prediction, "verdict", "p_pneumonia", "population", "distance"),
        **_renamed(prediction, finished_at="scored_at"),
        **_state(facts, ImageState.SCORED),
        "review_state": ReviewState.UNREAD,
        "drawn_rank": None,
        # Only the events of images that follow another operating point than their prediction have these.
        **_chosen(event.payload, "verdict"),
        "operating_point_id": event.payload.get("operating_point"),
        "point_group": event.payload.get("point_group"),
    }
    facts.model = event.payload.get("model")
    if "operating_point" in event.payload:
        _apply_point(facts, event)


def _apply_point(facts: ImageTrail, event: TrailEvent) -> None:
    said = event.payload
    facts.applied.append(
        AppliedPoint(
            event.seq, said.get("model"), said.get("point_group"), said.get("operating_point"), facts.traits
        )
    )


def _retriaged(facts: ImageTrail, event: TrailEvent, image_id: int) -> None:
    """Follow a re-triage of all unread images: this one may be meant, and get another verdict."""
    try:
        rule = Rule.parse(event.payload)
    except (KeyError, TypeError, ValueError):
        return
    is_unread = facts.image.get("review_state") == ReviewState.UNREAD
    if not is_unread or facts.model != rule.model_sha256:
        return
    received_at = datetime.fromisoformat(str(facts.image["received_at"]))
    if not rule.covers(facts.image.get("run_id"), received_at, facts.traits):
        return
    prediction = facts.predictions.get(facts.model, {})
    triaged = rule.apply(
        image_id,
        facts.image.get("verdict"),
        _exact_score(facts),
        cropped=prediction.get("crop_left") is not None,
        never_clear=_is_never_clear(prediction),
    )
    facts.image |= {
        "verdict": triaged.verdict,
        "operating_point_id": _id_in(event.subject),
        "point_group": rule.about.group.key if rule.about.group else None,
        "drawn_rank": None if triaged.drawn_rank is None else f"{triaged.drawn_rank:.6f}",
    }
    facts.image["review_state"] = _unread(facts)


def _is_never_clear(prediction: Facts) -> bool:
    """Return whether the image of a prediction is never clear, by what the trail says. It has all digits of the distance."""
    population, distance = prediction.get("population"), prediction.get("distance")
    return is_never_clear(
        None if population is None else str(population), None if distance is None else float(str(distance))
    )


def _exact_score(facts: ImageTrail) -> float:
    """Return the score of the prediction in force: of its row if the trail agrees, else what the trail says."""
    said = str(facts.image.get("p_pneumonia"))
    exact = facts.scores.get(str(facts.model))
    return float(said) if exact is None or f"{exact:.6f}" != said else exact


def _id_in(subject: str) -> int | None:
    number = subject.rpartition(":")[2]
    return int(number) if number.isdecimal() else None


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
        "review_state": None,
        "drawn_rank": None,
        **_chosen(event.payload, "retry_reason_seal"),
        **_renamed(event.payload, why_sha256="retry_reason_sha256"),
    }


def _erased(facts: ImageTrail, event: TrailEvent, image_id: int) -> None:
    said = event.payload
    facts.erasures[said.get("erasure")] = {
        "image_id": image_id,
        **_chosen(said, "reason_seal"),
        "at": event.at,
    }
    for instance in facts.instances.values():
        instance.update(dict.fromkeys(_INSTANCE))
    for typed in ("retry_reason_seal", "retry_reason_sha256"):
        facts.image.pop(typed, None)
    facts.image |= {**_state(facts, ImageState.ERASED), **dict.fromkeys((*_SCORE, "retry_reason"))}
    _remove_maps(facts)


def _bytes_removed(facts: ImageTrail, event: TrailEvent, _image_id: int) -> None:
    facts.image["bytes_removed_at"] = event.at
    _remove_maps(facts)


def _remove_maps(facts: ImageTrail) -> None:
    for prediction in facts.predictions.values():
        prediction.pop("activation_sha256", None)
        prediction["activation"] = b""


def _read_as(action: Action) -> Callable[[ImageTrail, TrailEvent, int], None]:
    """Return what follows from the event of a reading. The events of earlier versions have fewer facts."""

    def follow(facts: ImageTrail, event: TrailEvent, image_id: int) -> None:
        said = event.payload
        typed = {name: "" for name in _TYPED if f"{name}_seal" not in said}
        facts.reviews[said.get("review")] = {
            **_NO_READING,
            **typed,
            **_renamed(said, prediction="prediction_id", reason="reason_code", supersedes="supersedes_id"),
            **_chosen(said, "finding", "note_seal", "note_sha256", "other_finding_seal", "why_seal"),
            **_chosen(said, *_VISIBILITY, "stage", "leads_to"),
            **_renamed(said, protocol="protocol_id"),
            **_by(event, image_id),
            # An earlier version says `confirm` or `override`: what this meant is in the finding.
            "action": action,
        }
        facts.image["review_state"] = _leads_to(said)

    return follow


def _undone(facts: ImageTrail, event: TrailEvent, image_id: int) -> None:
    undone = event.payload.get("undoes")
    facts.reviews[event.payload.get("review")] = {
        **_NO_READING,
        **dict.fromkeys(_TYPED, ""),
        "note": "",
        **_chosen(event.payload, *_VISIBILITY),
        **_by(event, image_id),
        **_chosen(facts.reviews.get(undone, {}), "prediction_id"),
        "action": Action.UNDO,
        "undoes_id": undone,
        "finding": None,
    }
    restored = facts.reviews.get(event.payload.get("restores"))
    facts.image["review_state"] = _leads_to(restored) if restored else _unread(facts)


def _leads_to(reading: Mapping[str, Any]) -> object:
    """Return the reading state after a reading. Events of earlier versions do not hold it."""
    return reading.get("leads_to") or state_after(str(reading.get("finding")))


def _unread(facts: ImageTrail) -> ReviewState | None:
    """Return the reading state of an image that nobody has read."""
    if facts.image.get("state") != ImageState.SCORED:
        return None
    return ReviewState.UNREAD if facts.image.get("drawn_rank") is None else ReviewState.DRAWN


def _by(event: TrailEvent, image_id: int) -> Facts:
    return {"image_id": image_id, "user_id": actors.user_id(event.actor), "at": event.at}


def _state(facts: ImageTrail, state: ImageState) -> Facts:
    """Return the facts of an image that enters a state without a reason."""
    facts.image.pop("reason_sha256", None)
    return {"state": state, "reason_code": None, "reason": None}


def _user_added(event: TrailEvent) -> Facts:
    return {
        "created_at": event.at,
        "disabled_at": None,
        "passphrase_hash_sha256": None,
        **_chosen(event.payload, "name_seal"),
    }


def _passphrase(event: TrailEvent) -> Facts:
    return _chosen(event.payload, "passphrase_hash_sha256")


def _setting(event: TrailEvent) -> Facts:
    return {
        "set_by": event.actor,
        "at": event.at,
        **_renamed(event.payload, setting="name"),
        **_chosen(event.payload, "value_sha256", "why_seal"),
    }


def _shadow_scored(event: TrailEvent) -> Facts:
    numbers = ("p_normal", "p_bacterial", "p_viral", "p_pneumonia", "cropped", "population")
    return {
        "at": event.at,
        **_renamed(event.payload, image="image_id", model="model_id"),
        **_chosen(event.payload, "outcome", *numbers, "versions_sha256"),
        # Only the events of models that say it have it.
        "distance": event.payload.get("distance"),
    }


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
    RETRIAGED: _retriaged,
    "erased": _erased,
    "bytes_removed": _bytes_removed,
    "numbers_erased": _identified,
    "read": _read_as(Action.READ),
    "read_amended": _read_as(Action.AMEND),
    "read_undone": _undone,
}

_ROW_EVENTS: dict[str, Callable[[TrailEvent], Facts]] = {
    "run_started": lambda event: {"started_at": event.at, **_chosen(event.payload, "name_seal")},
    # Written by version 0.2.0 and earlier, which knew no other role.
    "reader_added": lambda event: {**_user_added(event), "roles": "reader"},
    "user_added": lambda event: {**_user_added(event), **_chosen(event.payload, "roles")},
    "user_named": lambda event: _chosen(event.payload, "name_seal"),
    "user_roles_set": lambda event: _chosen(event.payload, "roles"),
    "user_disabled": lambda event: {"disabled_at": event.at},
    "user_enabled": lambda _event: {"disabled_at": None},
    "totp_added": lambda event: {
        "added_at": event.at,
        "removed_at": None,
        **_renamed(event.payload, user="user_id"),
        **_chosen(event.payload, "secret_sha256"),
    },
    "totp_removed": lambda event: {"removed_at": event.at, "secret_sha256": None},
    "passkey_added": lambda event: {
        "added_at": event.at,
        "removed_at": None,
        **_renamed(event.payload, user="user_id"),
        **_chosen(event.payload, "name_seal", "credential_id", "public_key_sha256"),
    },
    "passkey_removed": lambda event: {"removed_at": event.at},
    "passphrase_set": _passphrase,
    "passphrase_rehashed": _passphrase,
    "passphrase_reset": _passphrase,
    "token_added": lambda event: {
        "created_at": event.at,
        "revoked_at": None,
        **_renamed(event.payload, owner="owner_id"),
        **_chosen(event.payload, "name_seal", "key_hash", "scopes", "expires_at"),
    },
    "token_revoked": lambda event: {"revoked_at": event.at},
    "identity_added": lambda event: {
        "added_at": event.at,
        **_chosen(event.payload, "user_id", "issuer_seal", "subject_seal"),
    },
    "study_added": lambda event: {"added_at": event.at, **_chosen(event.payload, *_STUDY)},
    "study_numbers_erased": lambda event: _chosen(event.payload, *_STUDY),
    "study_erased": lambda _event: dict.fromkeys(_STUDY),
    "site_key_made": lambda event: {"at": event.at, **_chosen(event.payload, "fingerprint")},
    "model_registered": lambda event: {
        "active_since": event.at,
        **_chosen(event.payload, "sha256", "name", "version", "card_sha256"),
    },
    "card_replaced": lambda event: _chosen(event.payload, "card_sha256"),
    "operating_point_set": lambda event: {
        "set_at": event.at,
        **_renamed(event.payload, model="model_id"),
        **_chosen(event.payload, "name", "threshold", "band_low", "band_high"),
    },
    "protocol_set": lambda event: {
        "set_by": event.actor,
        "at": event.at,
        **_chosen(event.payload, "name", "value_sha256", "why_seal"),
    },
    "thresholds_set": _setting,
    "model_activated": _setting,
    "shadow_set": _setting,
    "calibration_set": _setting,
    "calibration_revoked": _setting,
    "calibration_fitted": lambda event: {
        "at": event.at,
        **_renamed(event.payload, model="model_id"),
        **_chosen(
            event.payload, "version", "intercept", "slope", "prevalence", "cases_digest", "figures_sha256"
        ),
    },
    "shadow_scored": _shadow_scored,
    "accesses_chained": lambda event: {
        "at": event.at,
        **_chosen(event.payload, "first_id", "last_id", "total", "sha256"),
    },
}
