"""What the morning report of a run holds, whatever its format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from worker.ledger.process_health import process_health, troubles
from worker.ledger.reports import RunFigures, find_run, run_figures
from worker.ledger.session import ledger_time

FLAGGED_COLUMNS = ("image", "verdict", "p_pneumonia", "review", "phantom", "file")
REJECTED_COLUMNS = ("image", "state", "code", "reason", "file")
SLOWEST_COLUMNS = ("image", "compute_ms")


@dataclass(frozen=True)
class Report:
    """A run's figures, and a sentence for each thing beside its images that a person should look at."""

    figures: RunFigures
    look_at: Sequence[str]


def read_report(session: Session, run_name: str | None) -> Report:
    """The report of a run, the latest without a name; `FORMATS` write it. Raises LookupError without that run."""
    run = find_run(session, run_name)
    if run is None:
        raise LookupError(f"There is no run named {run_name!r}." if run_name else "There is no run yet.")
    figures, signs = run_figures(session, run), process_health(session, ledger_time(session))
    # Where nothing gives a sign of life, Nightread was stopped on purpose.
    wrong = troubles(signs, balanced=True) if signs else []
    return Report(figures, [*worth_a_look(figures), *wrong])


def worth_a_look(figures: RunFigures) -> list[str]:
    """What of a run is left to a person, a sentence each. Pure."""
    counts = figures.run.file_counts
    counted = {
        "{} flagged or uncertain images are not read yet.": counts.unread,
        "{} images are quarantined: scoring them failed again and again; see why, and retry them.": (
            counts.quarantined
        ),
        "{} images have no outcome yet.": counts.pending + counts.leased,
    }
    return [sentence.format(count) for sentence, count in counted.items() if count]


def rejected_sentence(figures: RunFigures) -> str:
    """Say how many images were rejected or quarantined, and for which reasons."""
    counts, why = figures.run.file_counts, reason_counts(figures)
    said = f"Turned away: {counts.rejected} rejected, {counts.quarantined} quarantined"
    return f"{said}: {', '.join(f'{count} {code}' for code, count in why.items())}." if why else f"{said}."


def reason_counts(figures: RunFigures) -> dict[str, int]:
    """How many for which reason, the most frequent first, of those that are listed."""
    return dict(Counter(image.reason_code or "" for image in figures.rejected).most_common())


def slowest_rows(figures: RunFigures) -> list[dict[str, object]]:
    """Return the slowest images as rows with the keys of `SLOWEST_COLUMNS`; times in milliseconds."""
    return [{"image": row.id, "compute_ms": round(row.compute_ms or 0, 1)} for row in figures.slowest]


def file_count_sentence(figures: RunFigures) -> str:
    """Say whether every file of the run has exactly one outcome."""
    if figures.run.file_counts.balanced:
        return "The books balance: every file that arrived has one outcome."
    return "THE BOOKS DO NOT BALANCE: find out why before anything else (nightread db check)."


def flagged_row(image: Row[Any]) -> dict[str, object]:
    """Return an image as a row with the keys of `FLAGGED_COLUMNS`."""
    return {
        "image": image.id,
        "verdict": image.verdict or "",
        "p_pneumonia": "" if image.p_pneumonia is None else round(image.p_pneumonia, 6),
        "review": image.review_state or "",
        "phantom": "phantom" if image.phantom else "",
        "file": image.original_name,
    }


def rejected_row(image: Row[Any]) -> dict[str, object]:
    """Return an image as a row with the keys of `REJECTED_COLUMNS`."""
    return {
        "image": image.id,
        "state": image.state,
        "code": image.reason_code or "",
        "reason": image.reason or "",
        "file": image.original_name,
    }
