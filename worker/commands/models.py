"""`nightread models`: the models of the site, which one is active, and which one is the candidate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worker.catalogue import find_bundles
from worker.config import Settings
from worker.ledger import bundles, model_choice
from worker.ledger.active_models import Activation
from worker.ledger.actors import operating_system_user
from worker.ledger.models_overview import ListedModel, ModelsOverview, overview
from worker.ledger.session import Ledger, ledger_time
from worker.ledger.shadows import Shadow
from worker.terminal import printable

_DIGITS = 12


@dataclass(frozen=True)
class Bounds:
    """Which images a candidate scores: the latest so many, and only those that arrived since."""

    images: int
    since: datetime | None


def read(settings: Settings, ledger: Ledger) -> ModelsOverview:
    """Return the models that the ledger knows, and the bundles of this machine and of all workers."""
    here = find_bundles(settings)
    with ledger.reading() as session:
        return overview(session, ledger_time(session), here)


def find(shown: ModelsOverview, name: str) -> ListedModel:
    """Return the model that a person named. Raises LookupError."""
    hashes = {
        model.sha256
        for model in shown.models
        if model.sha256 and bundles.means(name, model.name, model.version, model.sha256)
    }
    sha256 = hashes.pop() if len(hashes) == 1 else shown.known.find(name).sha256
    return next(model for model in shown.models if model.sha256 == sha256)


def activate(settings: Settings, ledger: Ledger, name: str | None, why: str) -> Activation:
    """Make a model active; None: that of each worker's setting. Raises LookupError or ValueError, with a sentence."""
    here = find_bundles(settings)
    with ledger.transaction() as session:
        at = ledger_time(session)
        known = bundles.known(session, at, here)
        if name is None:
            return model_choice.activate_default(session, known, who=operating_system_user(), why=why, at=at)
        return model_choice.activate(session, known, name, who=operating_system_user(), why=why, at=at)


def shadow(settings: Settings, ledger: Ledger, name: str | None, why: str, bounds: Bounds) -> Shadow:
    """Make a model the candidate; None: none any more. Raises LookupError or ValueError, with a sentence."""
    here = find_bundles(settings)
    with ledger.transaction() as session:
        at = ledger_time(session)
        known = bundles.known(session, at, here)
        return model_choice.shadow(
            session,
            known,
            name,
            who=operating_system_user(),
            why=why,
            at=at,
            images=bounds.images,
            since=bounds.since,
        )


def document(shown: ModelsOverview) -> dict[str, Any]:
    """Return the models as a JSON document."""
    active = shown.active
    return {
        "active": {
            "sha256": active.sha256 if active else None,
            "source": "site" if shown.activation and shown.activation.model_sha256 else "setting",
            **_who(shown.activation, shown.names),
        },
        "shadow": _shadow_document(shown),
        "models": [model_document(model) for model in shown.models],
        "changes": [
            {"model": change.model_sha256, "name": change.name, "version": change.version}
            | _who(change, shown.names)
            for change in shown.activations
        ],
    }


def model_document(model: ListedModel) -> dict[str, Any]:
    """Return a model as a JSON document, without its card."""
    return {
        "name": model.name,
        "version": model.version,
        "sha256": model.sha256,
        "verified": model.verified,
        "active": model.is_active,
        "shadow": model.is_candidate,
        "predictions": model.predictions,
        "shadow_predictions": model.shadow_predictions,
        "registered": model.registered_at.isoformat(timespec="seconds") if model.registered_at else None,
        "folder": model.bundle.folder if model.bundle else None,
        "problem": model.bundle.problem if model.bundle else None,
        "missing_on": list(model.missing_on),
        "obstacle": model.obstacle,
    }


def as_text(shown: ModelsOverview) -> str:
    """Return the models as text for people."""
    lines = [_line(model) for model in shown.models]
    lines.append(_active_line(shown))
    if shown.shadow and shown.progress and shown.candidate:
        lines.append(
            f"Candidate: {shown.candidate.name} {shown.candidate.version}, "
            f"{_by(shown.shadow, shown.names)}. Looked at: {shown.progress.done:,} images; left: {shown.progress.left:,}."
        )
    return "\n".join(map(printable, lines))


def details_text(shown: ModelsOverview, model: ListedModel) -> str:
    """Return one model as text for people."""
    rows = [
        ("SHA-256", model.sha256 or "not known"),
        ("verified", "yes" if model.verified else "no: Nightread does not ship this model with this card"),
        ("active", "yes" if model.is_active else "no"),
        ("candidate", "yes" if model.is_candidate else "no"),
        ("images scored", f"{model.predictions:,}"),
        ("looked at as candidate", f"{model.shadow_predictions:,}"),
        ("registered", _minute(model.registered_at) if model.registered_at else "no"),
        ("folder", model.bundle.folder if model.bundle else "no machine has it"),
        ("can be made active", f"no: {model.obstacle}" if model.obstacle else "yes"),
    ]
    lines = [f"{model.name} {model.version}".strip(), *(f"  {name:<24}{value}" for name, value in rows)]
    lines += [
        f"  made active             {_by(change, shown.names)}"
        for change in shown.activations
        if change.model_sha256 == model.sha256
    ]
    return "\n".join(map(printable, lines))


def _line(model: ListedModel) -> str:
    states = [
        word
        for word, applies in (
            ("active", model.is_active),
            ("candidate", model.is_candidate),
            ("not verified", not model.verified),
        )
        if applies
    ]
    marked = "*" if model.is_active else " "
    state = f" ({', '.join(states)})" if states else ""
    scored = f"{model.predictions:,} images scored"
    obstacle = f"; {model.obstacle}" if model.obstacle else ""
    return f"{marked} {f'{model.name} {model.version}'.strip():<22} {(model.sha256 or '')[:_DIGITS]:<12}  {scored}{state}{obstacle}"


def _active_line(shown: ModelsOverview) -> str:
    if shown.activation is None:
        return (
            "Active: the model of the setting NIGHTREAD_MODEL of each worker. Nobody has chosen another one."
        )
    return f"Active: {shown.activation.title}, {_by(shown.activation, shown.names)}."


def _shadow_document(shown: ModelsOverview) -> dict[str, Any] | None:
    if shown.shadow is None or shown.progress is None:
        return None
    since = shown.shadow.since
    return {
        "sha256": shown.shadow.model_sha256,
        "images": shown.shadow.images,
        "arrived_since": since.isoformat(timespec="seconds") if since else None,
        "done": shown.progress.done,
        "left": shown.progress.left,
        **_who(shown.shadow, shown.names),
    }


def _who(change: Activation | Shadow | None, names: Mapping[str, str]) -> dict[str, str | None]:
    if change is None:
        return dict.fromkeys(("since", "set_by", "why"))
    return {
        "since": change.at.isoformat(timespec="seconds"),
        "set_by": names.get(change.set_by, change.set_by),
        "why": change.why,
    }


def _by(change: Activation | Shadow, names: Mapping[str, str]) -> str:
    return f"since {_minute(change.at)}, set by {names.get(change.set_by, change.set_by)}: {change.why}"


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
