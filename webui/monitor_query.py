"""What a page or the API asks of the monitor, from the address."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from werkzeug.datastructures import MultiDict

from webui.ids import id_of
from worker.ledger.monitored_groups import EVERYTHING, Dimension
from worker.report.monitor_figures import Asked, Period

PERIODS: Mapping[str, str] = {"day": "days", "week": "weeks", "month": "months"}
DIMENSIONS: Mapping[str, str] = {
    "all": "no groups",
    "age": "age",
    "sex": "sex",
    "view": "view",
    "source": "source",
    "machine": "machine",
    "size": "image size",
    "reader": "reader",
}
_LONGEST = 60


def parse(arguments: MultiDict[str, str]) -> Asked:
    """Return what an address asks for. Raises ValueError, with a sentence, for what cannot be."""
    dimension = Dimension(_one_of(arguments, "by", DIMENSIONS, Dimension.ALL.value))
    group = arguments.get("group", "") or EVERYTHING
    if len(group) > _LONGEST:
        raise ValueError("`group` must be the name of a group")
    return Asked(
        Period(_one_of(arguments, "period", PERIODS, Period.WEEK.value)),
        dimension,
        EVERYTHING if dimension is Dimension.ALL else group,
        id_of(arguments.get("model") or None),
        _day(arguments.get("until", "")),
    )


def query(asked: Asked, **changes: str) -> dict[str, str]:
    """Return the parameters of an address that asks the same, but for the changes."""
    parameters = {
        "period": asked.period.value,
        "by": asked.dimension.value,
        "group": "" if asked.group == EVERYTHING else asked.group,
        "model": "" if asked.model_id is None else str(asked.model_id),
        "until": "" if asked.until is None else asked.until.isoformat(),
    }
    return {name: value for name, value in (parameters | changes).items() if value}


def _one_of(arguments: MultiDict[str, str], name: str, choices: Mapping[str, str], default: str) -> str:
    value = arguments.get(name, "") or default
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(choices)}")
    return value


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise ValueError("`until` must be a day, such as 2026-03-01") from None
