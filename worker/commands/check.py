"""`nightread db check`: compare database, image store and inbox, and apply safe automatic repairs."""

from __future__ import annotations

from worker.checkpoints import Checkpoints
from worker.commands import site_key
from worker.commands.verify import checkpoint_lines
from worker.config import Settings
from worker.erasing import Eraser
from worker.errors import WrongSettings
from worker.intake.reconcile import Reconciler
from worker.intake.site_key import SiteKeyLost, SiteKeys
from worker.ledger import maintenance, tallies
from worker.ledger.maintenance import CheckResult
from worker.ledger.schema import open_ledger
from worker.ledger.session import Ledger
from worker.store import open_store
from worker.terminal import printable

_NAMES_SHOWN = 20


def check_all(settings: Settings, *, read_bytes: bool) -> list[CheckResult]:
    """Return the results of all checks; if the schema is outdated, only the result about the schema."""
    ledger = Ledger(settings.database)
    results = maintenance.check(ledger)
    if not results[0].ok:
        return results
    results.append(_check_checkpoints(settings, ledger))
    results.append(_check_site_key(SiteKeys(settings, ledger)))
    store = open_store(settings)
    results.append(_check_erasures(Eraser(ledger, store)))
    return results + Reconciler(settings, ledger, store).compare(read_bytes=read_bytes)


def _check_erasures(eraser: Eraser) -> CheckResult:
    left = eraser.left()
    names = [f"image {image_id}" for image_id in left]
    return CheckResult(not left, f"{len(left)} erased images of which the image store holds something", names)


def _check_site_key(keys: SiteKeys) -> CheckResult:
    try:
        return CheckResult(ok=True, summary=site_key.state(keys))
    except SiteKeyLost as lost:
        return CheckResult(ok=False, summary=str(lost))


def _check_checkpoints(settings: Settings, ledger: Ledger) -> CheckResult:
    checkpoints = Checkpoints(settings.checkpoints_path, settings.checkpoint_key_path)
    try:
        result = checkpoints.check(ledger)
    except WrongSettings as error:
        return CheckResult(ok=False, summary=str(error))
    return CheckResult(result.ok, " ".join(checkpoint_lines(result, settings)))


def repair_all(settings: Settings) -> list[str]:
    """Apply all repairs and return a sentence for each kind. Raises SchemaOutdated or TransientFailure."""
    ledger = open_ledger(settings.database)
    with ledger.transaction() as session:
        wrong_tallies = tallies.repair(session)
    tally_repairs = [f"{wrong_tallies} wrong tallies counted again"] if wrong_tallies else []
    store = open_store(settings)
    erased = Eraser(ledger, store).remove_left()
    erasures = [f"what was left of {erased} erased images removed from the image store"] if erased else []
    return tally_repairs + erasures + Reconciler(settings, ledger, store).repair()


def as_text(result: CheckResult) -> str:
    """Return the result as text for people, with at most `_NAMES_SHOWN` of its names."""
    lines = [f"{'ok   ' if result.ok else 'WRONG'}  {result.summary}"]
    lines += [f"         {printable(name)}" for name in result.names[:_NAMES_SHOWN]]
    hidden = len(result.names) - _NAMES_SHOWN
    return "\n".join([*lines, f"         and {hidden} more"] if hidden > 0 else lines)
