"""`nightread retention`: remove what is older than the settings allow, or say what would go."""

from __future__ import annotations

from typing import Any

from worker.config import Settings
from worker.ledger.session import Ledger
from worker.retention import Retention
from worker.store import open_store

_WORDS = {
    "bytes": "images whose bytes",
    "renditions": "renditions that",
    "names": "names of files and runs that",
    "text": "notes and reasons that",
    "sessions": "sessions and links that",
}


def document(settings: Settings, ledger: Ledger, *, dry_run: bool) -> dict[str, Any]:
    """Remove what is due, unless `dry_run` is set, and return the document that `--json` prints.

    Raises TransientFailure: the database or the image store failed. What was removed until then stays removed.
    """
    retention = Retention(settings, ledger, open_store(settings))
    counts = retention.due() if dry_run else retention.run_all()
    limits = {name: {"days": days, "count": counts.get(name, 0)} for name, days in retention.days.items()}
    return {"dry_run": dry_run, "limits": limits, "waiting": retention.waiting()}


def as_text(result: dict[str, Any]) -> str:
    """Return the document as text for people."""
    verb = "would go" if result["dry_run"] else "went"
    lines = [
        f"{limit['count']} {_WORDS[name]} are older than {limit['days']} days {verb}"
        if limit["days"]
        else f"{name}: kept for ever"
        for name, limit in result["limits"].items()
    ]
    if result["waiting"]:
        lines.append(
            f"{result['waiting']} images keep everything, because they are not read or not scored yet"
        )
    return "\n".join(lines)
