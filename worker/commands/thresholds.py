"""`nightread thresholds`: the operating points of the card and of the site, and which one is in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from worker.config import Settings
from worker.ledger import retriage, thresholds
from worker.ledger.actors import operating_system_user
from worker.ledger.point_groups import Group
from worker.ledger.retriage import Changes, Choice
from worker.ledger.session import Ledger, ledger_time
from worker.ledger.thresholds import Point, Setting
from worker.ledger.thresholds_overview import ChosenBy, ListedPoint, Overview, chosen, overview
from worker.terminal import printable

_NO_MODEL = "no model is known yet: start `nightread worker` first"


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for.

    `numbers` are threshold, lower and upper end of the band; None: a known point. Without a name, the site is to have no
    point of its own. `days` limits a re-triage to the images that arrived since; None: all. `group` is a group of images;
    None: all that are in no group with a point.
    """

    name: str | None
    numbers: tuple[float, float, float] | None
    retriages: bool
    days: float | None
    group: Group | None = None


def read(settings: Settings, ledger: Ledger) -> Overview:
    """Return the operating points. Raises LookupError before a worker has registered a model."""
    with ledger.reading() as session:
        found = overview(session, settings.operating_point)
    if found is None:
        raise LookupError(_NO_MODEL)
    return found


def choose(settings: Settings, ledger: Ledger, wanted: Wanted) -> tuple[Choice, Changes]:
    """Return the choice, and what it would change among unread images.

    Raises LookupError for an unknown point, ValueError for numbers that cannot work.
    """
    with ledger.reading() as session:
        found = overview(session, settings.operating_point)
        if found is None:
            raise LookupError(_NO_MODEL)
        point = None
        if wanted.name is not None and wanted.numbers:
            point = Point.of_site(wanted.name, *wanted.numbers)
        elif wanted.name is not None:
            point = thresholds.find(session, found.model, wanted.name)
        since = None if wanted.days is None else ledger_time(session) - timedelta(days=wanted.days)
        choice = chosen(found, point, wanted.group, retriages=wanted.retriages, since=since)
        return choice, retriage.count(session, found.model.sha256, choice)


def put_in_force(settings: Settings, ledger: Ledger, choice: Choice, why: str) -> Changes | None:
    """Put the choice in force, and return what changed among unread images. Raises ValueError if nothing would change."""
    with ledger.transaction() as session:
        found = overview(session, settings.operating_point)
        if found is None:
            raise LookupError(_NO_MODEL)
        who, at = operating_system_user(), ledger_time(session)
        return retriage.put_in_force(session, found.model, choice, who=who, why=why, at=at)


def document(shown: Overview) -> dict[str, Any]:
    """Return the points as a JSON document."""
    in_force = None
    if shown.in_force is not None:
        who = _who(shown.setting, shown.names) if shown.setting else dict.fromkeys(("since", "set_by", "why"))
        in_force = {**asdict(shown.in_force), "source": shown.source.value, **who}
    return {
        "model": {"name": shown.model.name, "version": shown.model.version, "sha256": shown.model.sha256},
        "in_force": in_force,
        "groups": [
            {
                "group": setting.group.key if setting.group else None,
                **(asdict(setting.point) if setting.point else {}),
                **_who(setting, shown.names),
            }
            for setting in shown.groups
        ],
        "points": [asdict(point) for point in shown.points],
        "unused": shown.unused,
        "changes": [
            {
                "model": change.model_sha256,
                "group": change.group.key if change.group else None,
                "point": asdict(change.point) if change.point else None,
                **_who(change, shown.names),
            }
            for change in shown.changes
        ],
    }


def changes_document(changes: Changes | None) -> dict[str, Any] | None:
    """Return what a re-triage changed as a document; None without one."""
    if changes is None:
        return None
    return {
        "unread": changes.unread,
        "changed": changes.changed,
        **{verdict: changes.becoming(verdict) for verdict in ("flagged", "uncertain", "clear")},
        "more_to_read": changes.more_to_read,
        "drawn": changes.drawn,
    }


def as_text(shown: Overview) -> str:
    """Return the points as text for people."""
    lines = [f"Model {shown.model.name} {shown.model.version} ({shown.model.sha256[:12]})"]
    lines += [_line(point, is_used=point == shown.in_force) for point in shown.points]
    lines.append(f"In force: {_in_force(shown)}.")
    lines += [_group_line(setting, shown.names) for setting in shown.groups]
    if any(setting.group and not setting.group.is_source for setting in shown.groups):
        lines.append("Images of patients whose age is not known are in no group of ages.")
    lines += [shown.unused] if shown.unused else []
    return _printable(lines)


def described(choice: Choice, changes: Changes) -> str:
    """Return what a choice does, as text for people, before it is put in force."""
    point = choice.effective
    of = f" for {choice.group.title}" if choice.group else ""
    if choice.point is None and choice.group is not None:
        others = "" if choice.group.is_source else "the point of their source, or else "
        first = f"Images of {choice.group.title} would have no point of their own, and follow {others}"
        source = ""
    else:
        first = "Operating point "
        source = "" if choice.point else ", which holds without a point of the site"
    kept = "" if choice.retriages else "Unread images keep their verdicts. With --retriage: "
    return _printable(
        [
            f"{first}{point.name}{of if choice.point else ''}{source}: threshold {point.threshold:g}, uncertain from {point.band_low:g} to {point.band_high:g}.",
            kept + changes_text(changes, is_done=False),
        ]
    )


def changes_text(changes: Changes, *, is_done: bool) -> str:
    """Return what a re-triage changes, or would change, as text for people."""
    details = "; ".join(
        f"{before} to {after}: {total:,}"
        for (before, after), total in sorted(changes.counts.items())
        if before != after
    )
    verb = "have another verdict now" if is_done else "would get another verdict"
    text = f"Of {changes.unread:,} unread images, {changes.changed:,} {verb}{f' ({details})' if details else ''}."
    text += f" Images to read because of their verdict: {changes.more_to_read:+,}."
    return f"{text} Drawn to be read without their score: {changes.drawn:,}." if is_done else text


def _line(point: ListedPoint, *, is_used: bool) -> str:
    figures = {
        "sensitivity": point.sensitivity,
        "specificity": point.specificity,
        "flagged": point.flagged_share,
    }
    expected = ", ".join(
        f"{name} {'not known' if value is None else f'{100 * value:.1f} %'}"
        for name, value in figures.items()
    )
    of = "card" if point.is_of_card else "site"
    marked = "*" if is_used else " "
    numbers = f"threshold {point.threshold:.3f}, uncertain from {point.band_low:.3f} to {point.band_high:.3f}"
    return f"{marked} {point.name:<14} {numbers}; {expected} ({of}{', default' if point.is_default else ''})"


def _in_force(shown: Overview) -> str:
    if shown.in_force is None:
        return "no operating point is known"
    if shown.setting is not None:
        who = _who(shown.setting, shown.names)
        minute = who["since"][:16].replace("T", " ")
        return f"{shown.in_force.name}, since {minute} UTC, set by {who['set_by']}: {who['why']}"
    is_default = shown.source is ChosenBy.CARD
    source = "the default of the model's card" if is_default else "from the setting NIGHTREAD_OPERATING_POINT"
    return f"{shown.in_force.name}, {source}"


def _group_line(setting: Setting, names: Mapping[str, str]) -> str:
    who = _who(setting, names)
    minute = who["since"][:16].replace("T", " ")
    group, name = (
        (setting.group.title if setting.group else ""),
        (setting.point.name if setting.point else ""),
    )
    return f"For {group}: {name}, since {minute} UTC, set by {who['set_by']}: {who['why']}."


def _who(setting: Setting, names: Mapping[str, str]) -> dict[str, str]:
    return {
        "since": setting.at.isoformat(timespec="seconds"),
        "set_by": names.get(setting.set_by, setting.set_by),
        "why": setting.why,
    }


def _printable(lines: list[str]) -> str:
    """Return lines for a terminal: what a person typed cannot control it."""
    return "\n".join(map(printable, lines))
