"""Which model bundles the workers have found on their machines, and whether they can use them.

A page and a command on another machine cannot look into a worker's folders, so each worker says what it has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from worker.ledger import predictions, thresholds
from worker.ledger.heartbeats import WORKER, process_statuses
from worker.ledger.tables import Bundle, Model, Process

# So many digits of a SHA-256 tell two models apart.
SHOWN = 12
_LEAST_DIGITS = 8


@dataclass(frozen=True)
class FoundBundle:
    """A bundle in a folder of a machine.

    Attributes:
        folder: its path there.
        name, version: of its card; the name of the folder and nothing if the card cannot be read.
        sha256: the identity of the model; None if the card cannot be read.
        card: all of card.json; None likewise.
        problem: a sentence that says why it cannot be used there; None: it can.
    """

    folder: str
    name: str
    version: str
    sha256: str | None = None
    card: Mapping[str, Any] | None = None
    problem: str | None = None

    @property
    def title(self) -> str:
        """Its name and version, as people read them."""
        return f"{self.name} {self.version}".strip()

    def is_called(self, text: str) -> bool:
        """Return whether a person may mean it: by its folder's name, its name and version, or the start of its SHA-256."""
        return text == self.folder.rpartition("/")[2] or means(text, self.name, self.version, self.sha256)


def means(text: str, name: str, version: str, sha256: str | None) -> bool:
    """Return whether a text is a model's name and version, or the start of its SHA-256."""
    by_hash = len(text) >= _LEAST_DIGITS and (sha256 or "").startswith(text.lower())
    return text == f"{name}-{version}" or by_hash


@dataclass(frozen=True)
class KnownBundles:
    """What running workers have found, and what this machine has.

    Attributes:
        hosts: the hosts on which a worker runs.
        bundles: the bundles of each of these hosts that has said what it found, that of its setting NIGHTREAD_MODEL first; of
            this machine under "" if a command has looked.
    """

    hosts: Sequence[str]
    bundles: Mapping[str, Sequence[FoundBundle]]

    def find(self, text: str) -> FoundBundle:
        """Return the bundle that a person named. Raises LookupError, which names all, or says that several fit."""
        found = {bundle.sha256: bundle for bundle in self._all() if bundle.sha256 and bundle.is_called(text)}
        if len(found) == 1:
            return self.best(next(iter(found.values())).sha256 or "")
        if found:
            hashes = ", ".join(sorted(str(sha256)[:SHOWN] for sha256 in found))
            raise LookupError(f"several models are called {text}: name one by its SHA-256: {hashes}")
        broken = next((bundle for bundle in self._all() if bundle.is_called(text)), None)
        if broken is not None:
            raise LookupError(broken.problem or f"the bundle {text} cannot be used")
        names = ", ".join(sorted({f"{bundle.name}-{bundle.version}" for bundle in self._all()})) or "none"
        raise LookupError(f"there is no model {text} here; there are: {names}")

    def best(self, sha256: str) -> FoundBundle:
        """Return a bundle of this model, one that can be used if there is one. Raises LookupError if nobody has it."""
        having = [bundle for bundle in self._all() if bundle.sha256 == sha256]
        if not having:
            raise LookupError(f"no machine has a bundle of the model {sha256[:SHOWN]}")
        return min(having, key=lambda bundle: bundle.problem is not None)

    def unique(self) -> list[FoundBundle]:
        """Return one bundle of each model, and each that cannot be read."""
        models = list(dict.fromkeys(bundle.sha256 for bundle in self._all() if bundle.sha256))
        unreadable = {bundle.folder: bundle for bundle in self._all() if bundle.sha256 is None}
        return [*(self.best(sha256) for sha256 in models), *unreadable.values()]

    def obstacle(self, sha256: str) -> str | None:
        """Return a sentence if a machine on which a worker runs cannot use this model, else None."""
        for host in self.hosts or [""]:
            if host and host not in self.bundles:
                return (
                    f"the worker on {host} has not said yet which models it has: try again in a few seconds"
                )
            having = [bundle for bundle in self.bundles.get(host, ()) if bundle.sha256 == sha256]
            on = f"on {host}" if host else "on this machine"
            if not having:
                title = self.best(sha256).title
                return f"the worker {on} does not have the model {title} ({sha256[:SHOWN]}): put its folder into the folder of models there"
            if all(bundle.problem for bundle in having):
                return f"{on}, the model cannot be used: {having[0].problem}"
        return None

    def own(self) -> list[FoundBundle]:
        """Return the models of the setting NIGHTREAD_MODEL of running workers, else of this machine; each once."""
        first = [self.bundles[host][0] for host in self.hosts or [""] if self.bundles.get(host)]
        return list({bundle.sha256 or bundle.folder: bundle for bundle in first}.values())

    def obstacle_of_own(self) -> str | None:
        """Return a sentence if a running worker cannot use the model of its setting NIGHTREAD_MODEL, else None."""
        if not self.bundles:
            return "no worker is running that could say which model its setting NIGHTREAD_MODEL names: start one first"
        for host in self.hosts or [""]:
            if not self.bundles.get(host):
                return (
                    f"the worker on {host} has not said yet which models it has: try again in a few seconds"
                )
            problem = self.bundles[host][0].problem
            if problem:
                return f"on {host or 'this machine'}, the model of the setting NIGHTREAD_MODEL cannot be used: {problem}"
        return None

    def missing_on(self, sha256: str) -> list[str]:
        """Return the hosts on which a worker runs that cannot use this model."""
        usable = {
            host
            for host, found in self.bundles.items()
            for bundle in found
            if bundle.sha256 == sha256 and bundle.problem is None
        }
        return [host for host in self.hosts if host in self.bundles and host not in usable]

    def _all(self) -> Iterable[FoundBundle]:
        return (bundle for found in self.bundles.values() for bundle in found)


def report(session: Session, host: str, found: Sequence[FoundBundle], at: datetime) -> None:
    """Record what the worker of a host has found. What hosts without a worker had is forgotten."""
    with_worker = select(Process.host).where(Process.name == WORKER)
    session.execute(delete(Bundle).where((Bundle.host == host) | Bundle.host.not_in(with_worker)))
    session.add_all([Bundle(host=host, at=at, **asdict(bundle)) for bundle in found])


def known(session: Session, at: datetime, here: Sequence[FoundBundle] | None = None) -> KnownBundles:
    """Return the bundles that running workers have. `here` is what a command found on this machine."""
    alive = _hosts_with_worker(session, at)
    bundles: dict[str, list[FoundBundle]] = defaultdict(list)
    for row in session.scalars(select(Bundle).where(Bundle.host.in_(alive)).order_by(Bundle.host, Bundle.id)):
        bundles[row.host].append(
            FoundBundle(row.folder, row.name, row.version, row.sha256, row.card, row.problem)
        )
    return KnownBundles(sorted(alive), bundles if here is None else {"": here, **bundles})


def hosts_without(session: Session, sha256: str, at: datetime) -> list[str]:
    """Return the hosts on which a worker runs and has said that it cannot use a model. No card is read."""
    columns = Bundle.host, Bundle.sha256, Bundle.problem
    rows = session.execute(select(*columns).where(Bundle.host.in_(_hosts_with_worker(session, at)))).all()
    usable = {row.host for row in rows if row.sha256 == sha256 and row.problem is None}
    return sorted({row.host for row in rows} - usable)


def _hosts_with_worker(session: Session, at: datetime) -> set[str]:
    statuses = process_statuses(session, at)
    return {status.host for status in statuses if status.name == WORKER and not status.silent}


def register(session: Session, bundle: FoundBundle, at: datetime) -> Model:
    """Return the model of a bundle, and register it if no worker has. Raises ValueError if its card cannot be used."""
    if bundle.sha256 is None or bundle.card is None:
        raise ValueError(bundle.problem or "the card of this bundle cannot be read")
    known_model = session.scalars(select(Model).where(Model.sha256 == bundle.sha256)).one_or_none()
    if known_model is not None:
        return known_model
    card = dict(bundle.card)
    transient = Model(sha256=bundle.sha256, name=bundle.name, version=bundle.version, card=card)
    try:
        point = thresholds.without_site(transient, "")
    except LookupError as error:
        raise ValueError(error.args[0]) from None
    registered = predictions.register_model(
        session,
        sha256=bundle.sha256,
        name=bundle.name,
        version=bundle.version,
        card=card,
        point={"threshold": point.threshold, "band_low": point.band_low, "band_high": point.band_high},
        point_name=point.name,
        at=at,
    )
    return session.get_one(Model, registered.model_id)
