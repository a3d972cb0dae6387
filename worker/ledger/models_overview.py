"""What the command and the page show of the models: those that exist, the active one, the candidate, and who chose them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from worker.card.identity import is_shipped
from worker.ledger import active_models, bundles, models, shadows, users
from worker.ledger.active_models import Activation
from worker.ledger.bundles import FoundBundle, KnownBundles
from worker.ledger.shadows import Progress, Shadow
from worker.ledger.tables import Model

_CHANGES = 50


@dataclass(frozen=True)
class ListedModel:
    """A model that a worker has registered, or whose bundle a machine has.

    Attributes:
        name, version: of its card; the name of the folder and nothing if the card cannot be read.
        sha256: its identity; None if the card cannot be read.
        verified: whether Nightread ships it with this card.
        is_active: whether new images are scored with it.
        is_candidate: whether it scores in the background.
        predictions: images that it has scored.
        shadow_predictions: images that it has looked at as a candidate.
        registered_at: when it was first known to the ledger; None: it is not.
        bundle: its bundle; None: no machine that was looked at has it.
        missing_on: the hosts on which a worker runs that cannot use it.
        obstacle: a sentence that says why it cannot be made active now; None: it can.
    """

    name: str
    version: str
    sha256: str | None
    verified: bool
    is_active: bool
    is_candidate: bool
    predictions: int
    shadow_predictions: int
    registered_at: datetime | None
    bundle: FoundBundle | None
    missing_on: Sequence[str]
    obstacle: str | None


@dataclass(frozen=True)
class ModelsOverview:
    """The models of the site.

    Attributes:
        models: the active one first, then those that are registered, then further bundles.
        activation: the site's choice; None: each worker follows its setting NIGHTREAD_MODEL.
        shadow: the present candidate and why; None without one.
        progress: how far the candidate has come; None without one.
        activations: the latest changes of the active model, the last one first.
        names: of the people who made changes, by their actors.
        known: the bundles.
    """

    models: Sequence[ListedModel]
    activation: Activation | None
    shadow: Shadow | None
    progress: Progress | None
    activations: Sequence[Activation]
    names: Mapping[str, str]
    known: KnownBundles

    @property
    def active(self) -> ListedModel | None:
        """The model that scores new images; None before a worker has registered one."""
        return next((model for model in self.models if model.is_active), None)

    @property
    def candidate(self) -> ListedModel | None:
        """The model that scores in the background; None without one."""
        return next((model for model in self.models if model.is_candidate), None)


def overview(session: Session, at: datetime, here: Sequence[FoundBundle] | None = None) -> ModelsOverview:
    """Return the models. `here` is what a command found on this machine; None: it has not looked."""
    known = bundles.known(session, at, here)
    shadow = shadows.in_force(session)
    activations = active_models.history(session, limit=_CHANGES)
    who = [change.set_by for change in activations] + ([shadow.set_by] if shadow else [])
    return ModelsOverview(
        models=_listed(session, known, shadow),
        activation=activations[0] if activations else None,
        shadow=shadow,
        progress=shadows.progress(session, shadow) if shadow else None,
        activations=activations,
        names=users.names_of(session, who),
        known=known,
    )


def troubles(session: Session, at: datetime) -> list[str]:
    """Return a sentence for each host that cannot score with the candidate."""
    shadow = shadows.in_force(session)
    if shadow is None or shadow.model_sha256 is None:
        return []
    hosts = bundles.hosts_without(session, shadow.model_sha256, at)
    return [
        f"The worker on {host} cannot score with the candidate {shadow.model_sha256[: bundles.SHOWN]}: "
        "it does not have its bundle, or cannot use it."
        for host in hosts
    ]


def _listed(session: Session, known: KnownBundles, shadow: Shadow | None) -> list[ListedModel]:
    candidate = shadow.model_sha256 if shadow else None
    looked_at = shadows.counts(session)
    by_hash = {bundle.sha256: bundle for bundle in known.unique() if bundle.sha256}
    listed = []
    for registered in models.registered_models(session):
        model = registered.model
        listed.append(
            ListedModel(
                name=model.name,
                version=model.version,
                sha256=model.sha256,
                verified=is_shipped(model.sha256, model.card),
                is_active=registered.is_active,
                is_candidate=model.sha256 == candidate,
                predictions=registered.scored,
                shadow_predictions=looked_at.get(model.id, 0),
                registered_at=model.active_since,
                bundle=by_hash.pop(model.sha256, None),
                missing_on=known.missing_on(model.sha256),
                obstacle=_obstacle(known, model),
            )
        )
    unreadable = [bundle for bundle in known.unique() if bundle.sha256 is None]
    return listed + [_unregistered(known, bundle) for bundle in (*by_hash.values(), *unreadable)]


def _unregistered(known: KnownBundles, bundle: FoundBundle) -> ListedModel:
    sha256 = bundle.sha256
    return ListedModel(
        name=bundle.name,
        version=bundle.version,
        sha256=sha256,
        verified=bool(sha256 and bundle.card and is_shipped(sha256, bundle.card)),
        is_active=False,
        is_candidate=False,
        predictions=0,
        shadow_predictions=0,
        registered_at=None,
        bundle=bundle,
        missing_on=known.missing_on(sha256) if sha256 else [],
        obstacle=known.obstacle(sha256) if sha256 else bundle.problem,
    )


def _obstacle(known: KnownBundles, model: Model) -> str | None:
    try:
        return known.obstacle(model.sha256)
    except LookupError as error:
        return str(error.args[0])
