"""`nightread audit verify`: check the chain, compare the tables with the audit trail, and check the checkpoints."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import func, select

from worker.checkpoints import CheckpointResult, Checkpoints
from worker.config import Settings
from worker.ledger import audit
from worker.ledger.audit import Verification
from worker.ledger.comparison import Comparison, compare
from worker.ledger.session import Ledger
from worker.ledger.tables import Image
from worker.progress import progress
from worker.terminal import printable

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
        intact = self.trail.ok and self.checkpoints.bad_checkpoint is None
        return intact and not self.comparison.mismatch_count

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


def verify(settings: Settings, ledger: Ledger) -> TrailReport:
    """Run all checks. Raises WrongSettings when there are checkpoints but no valid public key."""
    with ledger.reading() as session:
        trail = audit.verify(session)
        images = session.scalar(select(func.count()).select_from(Image)) or 0
        with progress(images, "Comparing images with the audit trail") as advance:
            comparison = compare(session, advance)
    checkpoints = Checkpoints(settings.checkpoints_path, settings.checkpoint_key).check(ledger)
    return TrailReport(trail, comparison, checkpoints)


def as_text(report: TrailReport, settings: Settings) -> str:
    """Return the results as text for people."""
    return "\n".join(
        [
            _trail_line(report.trail),
            *_comparison_lines(report.comparison),
            _checkpoints_line(report.checkpoints, settings),
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


def _checkpoints_line(result: CheckpointResult, settings: Settings) -> str:
    if result.bad_checkpoint is None:
        return f"Valid signed checkpoints: {result.checkpoints}."
    path = settings.checkpoints_path
    return f"THE AUDIT TRAIL DOES NOT MATCH ITS CHECKPOINTS: line {result.bad_checkpoint} of {path} is not valid."
