"""`nightread audit verify`: check the chain, compare the tables with the audit trail, and check the checkpoints.

That somebody did this, and with which result, is an event of the audit trail itself.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from worker.checkpoints import CheckpointResult, Checkpoints
from worker.config import Settings
from worker.errors import TransientFailure
from worker.ledger import actors, audit
from worker.ledger.audit import Verification
from worker.ledger.comparison import Comparison, compare
from worker.ledger.session import Ledger, is_forbidden
from worker.ledger.tables import Image
from worker.progress import progress
from worker.terminal import printable

log = structlog.get_logger(__name__)

_SHOWN = 20


@dataclass(frozen=True)
class TrailReport:
    """The results of all three checks."""

    trail: Verification
    comparison: Comparison
    checkpoints: CheckpointResult

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return self.trail.ok and self.checkpoints.ok and not self.comparison.mismatch_count

    def document(self) -> dict[str, object]:
        """Return the document that `--json` prints."""
        return {
            **asdict(self.trail),
            "mismatch_count": self.comparison.mismatch_count,
            "mismatches": [asdict(mismatch) for mismatch in self.comparison.mismatches],
            "unproven": dict(self.comparison.unproven),
            "erased": dict(self.comparison.erased),
            **asdict(self.checkpoints),
            "ok": self.ok,
        }


def verify(
    settings: Settings,
    ledger: Ledger,
    *,
    public_key: Path | None = None,
    at_least: tuple[int, str] | None = None,
    asked_in: int | None = None,
) -> TrailReport:
    """Run all checks, and record that. Raises WrongSettings when there are checkpoints but no valid public key.

    `public_key` and `at_least` are as in `worker.checkpoints`. `asked_in` is the number of the event that an auditor
    asked for this verification, if one did on the page.
    """
    with ledger.reading() as session:
        trail = audit.verify(session)
        images = session.scalar(select(func.count()).select_from(Image)) or 0
        with progress(images, "Comparing images with the audit trail") as advance:
            comparison = compare(session, advance)
    checkpoints = Checkpoints(settings.checkpoints_path, settings.checkpoint_key_path, public_key)
    report = TrailReport(trail, comparison, checkpoints.check(ledger, at_least))
    _record(ledger, report, asked_in)
    return report


def _record(ledger: Ledger, report: TrailReport, asked_in: int | None) -> None:
    """Append an event that says who verified and what came out. A role that may only read leaves none."""
    details: dict[str, object] = {
        "ok": report.ok,
        "events": report.trail.events,
        "mismatches": report.comparison.mismatch_count,
        "checkpoints": report.checkpoints.checkpoints,
    }
    if asked_in is not None:
        details["asked_in"] = asked_in
    event = audit.Event("trail_verified", actors.operating_system_user(), "trail", details)
    try:
        with ledger.transaction() as session:
            audit.append(session, [event])
    except (TransientFailure, DBAPIError) as error:
        if not is_forbidden(error):
            log.warning("the verification is not on record", error=str(error))


def as_text(report: TrailReport, settings: Settings) -> str:
    """Return the results as text for people."""
    return "\n".join(
        [
            _trail_line(report.trail),
            *_comparison_lines(report.comparison),
            *checkpoint_lines(report.checkpoints, settings),
        ]
    )


def _trail_line(trail: Verification) -> str:
    if trail.ok:
        return f"The audit trail is intact: {trail.events} events, last hash {trail.head}."
    return f"THE AUDIT TRAIL IS BROKEN at event {trail.first_bad}. The {trail.events} events before it are intact."


def _comparison_lines(comparison: Comparison) -> list[str]:
    lines = ["The tables match the audit trail."]
    if comparison.mismatch_count:
        lines = [f"THE TABLES DO NOT MATCH THE AUDIT TRAIL: {comparison.mismatch_count} differences."]
        lines += [f"  {printable(str(mismatch))}." for mismatch in comparison.mismatches[:_SHOWN]]
        hidden = comparison.mismatch_count - _SHOWN
        lines += [f"  and {hidden} more"] if hidden > 0 else []
    if comparison.unproven:
        lines.append(f"Recorded by an earlier version without proof: {counted(comparison.unproven)}.")
    if comparison.erased:
        lines.append(f"Erased: {counted(comparison.erased)}.")
    return lines


def counted(counts: dict[str, int]) -> str:
    """Return counts as text: `12 receipt.original_name, 3 user.name`."""
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def checkpoint_lines(result: CheckpointResult, settings: Settings) -> list[str]:
    """Return a sentence for each thing that is wrong with the checkpoints, or one that says that they are valid."""
    path, lines = settings.checkpoints_path, []
    if result.bad_checkpoint is not None:
        line = f"line {result.bad_checkpoint} of {path} is not valid"
        lines.append(f"THE AUDIT TRAIL DOES NOT MATCH ITS CHECKPOINTS: {line}.")
    if result.missing_checkpoint is not None:
        lines.append(
            f"A CHECKPOINT IS MISSING: the audit trail names one of event {result.missing_checkpoint}, {path} has none."
        )
    if result.at_least is False:
        lines.append("THE AUDIT TRAIL IS NOT THE ONE OF --at-least: it has no event of this number and hash.")
    return lines or [f"Valid signed checkpoints: {result.checkpoints}."]
