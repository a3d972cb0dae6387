"""The `nightread` command. Each subcommand imports what it needs when it is called.

Exit codes: 0 success, 1 failure or a failed check, 2 wrong use. With `--json` stdout carries one JSON
document and nothing else; messages for people go to stderr.
"""

from __future__ import annotations

import gc
import importlib
import re
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from worker import DISCLAIMER, __version__
from worker.cli_calibration import calibration
from worker.cli_models import models
from worker.cli_monitor import monitor
from worker.cli_people import tokens, users
from worker.cli_support import ID, check_line, fail, json_text, open_ledger, start
from worker.cli_thresholds import thresholds
from worker.errors import ModelUnusable, SchemaOutdated, TransientFailure, WrongSettings

if TYPE_CHECKING:
    from worker.checkpoints import Checkpoints
    from worker.config import Settings

# Commands of other packages, which this package must not import: name -> (module:function, line in --help).
_ELSEWHERE = {
    "web": ("webui.cli:web", "Run the web interface."),
    "explore": ("training.cli:explore", "Report on labelled images before a model is trained on them."),
    "train": ("training.cli:train", "Train a model from a folder of labelled images."),
    "evaluate": ("training.cli:evaluate", "Measure a model on labelled images."),
    "describe": ("training.cli:describe", "Draw a model's networks and sample predictions."),
    "gate": ("training.cli:gate", "Compare what models reject before they score."),
    "robustness": ("training.cli:robustness", "Measure how a model's answers change when the pictures do."),
    "export": ("training.cli:export", "Export a model to LiteRT or ONNX for other software."),
    "bench": ("bench.cli:bench", "Measure this machine: throughput, its upper limit, uploads under load."),
    "bench-dicom": (
        "bench.cli:bench_dicom",
        "Measure DICOM objects of four transfer syntaxes: throughput, its upper limit, memory.",
    ),
    "bench-ledger": (
        "bench.cli:bench_ledger",
        "Measure pages, API and commands on a synthetic ledger of a million images.",
    ),
}
# Modules that are in the source checkout but not in the wheel.
_SOURCE_ONLY = {"bench", "bench.cli"}


class _Commands(click.Group):
    """A group that imports some of its commands from other packages when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_ELSEWHERE})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module, name = _ELSEWHERE[cmd_name][0].split(":")
        try:
            command: click.Command = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as missing:
            if missing.name not in _SOURCE_ONLY:
                raise
            fail(f"`nightread {cmd_name}` is not installed. Run it from a copy of Nightread's source code.")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands of other packages from the table, so that --help imports no other package."""
        own_commands = [(name, self.commands[name]) for name in sorted(self.commands)]
        rows = [
            (name, command.get_short_help_str(70)) for name, command in own_commands if not command.hidden
        ]
        rows += [(name, help_line) for name, (_, help_line) in _ELSEWHERE.items()]
        with formatter.section("Commands"):
            formatter.write_dl(sorted(rows))


def _check_run(value: str) -> str | None:
    """Accept the name of a run that is not Nightread's own."""
    from worker.ledger.runs import checked_run_name

    try:
        return checked_run_name(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _event_of_trail(value: str) -> tuple[int, str]:
    """Parse `SEQ:HASH`, the number and the hash of an event of the audit trail."""
    match = re.fullmatch(r"([0-9]{1,18}):([0-9a-fA-F]{64})", value)
    if match is None:
        raise click.BadParameter("must be the number of an event, a colon and its hash of 64 digits")
    return int(match[1]), match[2].lower()


_DAY = click.DateTime(["%Y-%m-%d"])
# Python's own number is 700.
_OBJECTS_BETWEEN_COLLECTIONS = 20_000


@click.group(cls=_Commands, epilog=DISCLAIMER, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nightread")
def nightread() -> None:
    """Screen chest X-rays overnight. In the morning, a person reads the flagged ones."""


nightread.add_command(users)
nightread.add_command(tokens)
nightread.add_command(thresholds)
nightread.add_command(monitor)
nightread.add_command(models)
nightread.add_command(calibration)


@nightread.command()
def up() -> None:
    """Start all processes on this machine. Ctrl-C stops them."""
    # Until the supervisor installs its own handlers, Ctrl-C must end this process at once. An import could
    # swallow a KeyboardInterrupt, and all processes would start although somebody pressed Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from worker import supervisor

    settings = start("up")
    try:
        sys.exit(supervisor.up(settings))
    except supervisor.CannotStart as error:
        fail(str(error))


@nightread.command()
def watch() -> None:
    """Run the watcher and the sweeper.

    The watcher accepts files from the inbox. The sweeper queues lost images again.
    """
    from worker import processes

    sys.exit(processes.watch(start("watch")))


@nightread.command()
def worker() -> None:
    """Run the scoring processes."""
    from worker import processes

    sys.exit(processes.work(start("worker")))


@nightread.command()
def receive() -> None:
    """Receive DICOM objects from modalities and archives."""
    from worker import exposure

    settings = start("receive")
    if not settings.dicom_port:
        raise WrongSettings(
            "NIGHTREAD_DICOM_PORT: set it to the port on which DICOM objects arrive, usually 11112."
        )
    exposure.check_receiver(settings)
    exposure.check_dicom_is_installed()
    from worker.receiving import process

    sys.exit(process.receive(settings))


@nightread.command(hidden=True)
def broker() -> None:
    """Run the bundled broker."""
    # Not worker.processes: that imports Celery, the inference and the ledger, which this process does not need.
    from worker.queue import bundled_broker
    from worker.stopping import stop_on_signals

    settings = start("broker")
    sys.exit(bundled_broker.serve(settings, stop_on_signals()))


@nightread.command(name="import")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--run", "run_name", type=_check_run, metavar="TEXT", help="Name of the run. Default: the current night."
)
@click.option("--wait", is_flag=True, help="Wait until no image is pending or being scored.")
def import_(folder: Path, run_name: str | None, wait: bool) -> None:
    """Import a whole folder and queue its images. The files stay where they are."""
    from worker.commands import import_folder

    import_folder.import_folder(start("import"), folder.absolute(), run_name, wait=wait)


@nightread.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def screen(files: tuple[Path, ...], as_json: bool) -> None:
    """Score files now, without queue or database. Exit code 1 if a file could not be scored."""
    from worker.commands import screen_files

    documents = screen_files.screen_files(start("screen"), files)
    click.echo(json_text(documents) if as_json else screen_files.as_text(documents))
    sys.exit(0 if all(document["outcome"] == "scored" for document in documents) else 1)


@nightread.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--watch", "refresh", is_flag=True, help="Refresh every two seconds.")
@click.option(
    "--process",
    help="Only check the heartbeat of this process on this host. Exit code 1 if it is missing or overdue.",
)
def status(as_json: bool, refresh: bool, process: str | None) -> None:
    """Show the file count, the scoring rate and the processes. Exit code 1 if files are unaccounted for."""
    from worker.commands.status import as_text, document, is_alive, pause

    settings = start("status")
    ledger = open_ledger(settings)
    if process:
        sys.exit(0 if is_alive(ledger, process) else 1)
    while True:
        status_document = document(ledger)
        if refresh:
            click.clear()
        click.echo(json_text(status_document) if as_json else as_text(status_document))
        if not refresh:
            sys.exit(0 if status_document["balanced"] else 1)
        pause()


@nightread.command()
@click.option(
    "--run", "run_name", type=check_line, metavar="TEXT", help="Name of the run. Default: the latest run."
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["text", "html", "csv", "json"]),
    default="text",
    help="Format of the report. Default: text.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def report(run_name: str | None, format_name: str, as_json: bool) -> None:
    """Print the morning report of a run. Exit code 1 if files are unaccounted for."""
    from worker.commands import report as report_command
    from worker.report.formats import FORMATS

    settings = start("report")
    form = "json" if as_json else format_name
    try:
        content = report_command.read(open_ledger(settings), run_name, form)
    except LookupError as error:
        fail(str(error.args[0]))
    click.echo(FORMATS[form](content), nl=False)
    for sentence in content.cut:
        click.echo(sentence, err=True)
    sys.exit(0 if content.figures.run.file_counts.balanced else 1)


@nightread.command()
@click.argument("image_ids", nargs=-1, required=True, type=ID, metavar="ID...")
@click.option(
    "--why",
    type=check_line,
    metavar="TEXT",
    required=True,
    help="Reason for the retry. Nightread records it.",
)
def retry(image_ids: tuple[int, ...], why: str) -> None:
    """Retry rejected or quarantined images."""
    from worker.commands.retry import retry_images

    errors = retry_images(start("retry"), image_ids, why=why)
    for error in errors:
        click.echo(error, err=True)
    sys.exit(1 if errors else 0)


@nightread.command()
@click.argument("image_ids", nargs=-1, required=True, type=ID, metavar="ID...")
@click.option(
    "--why",
    type=check_line,
    metavar="TEXT",
    required=True,
    help="Reason for the erasure, without a name. Nightread records it.",
)
@click.option("--patient", is_flag=True, help="Also erase all other images of the same patients.")
@click.option("--run-names", is_flag=True, help="Also erase the names of runs in which other images arrived.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON document on stdout. Needs --yes or --dry-run."
)
def erase(
    image_ids: tuple[int, ...],
    why: str,
    patient: bool,
    run_names: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Erase images: bytes, pictures, names and notes. Numbers, times and scores stay. This cannot be undone."""
    from worker.commands import erase as erase_command
    from worker.erasing import Eraser
    from worker.store import open_store

    if as_json and not (yes or dry_run):
        raise click.UsageError("--json needs --yes or --dry-run.")
    settings = start("erase")
    ledger = open_ledger(settings)
    try:
        chosen = erase_command.plan(ledger, sorted(set(image_ids)), patient=patient, all_run_names=run_names)
        click.echo(erase_command.as_text(chosen), err=True)
        if not (yes or dry_run):
            click.confirm(f"Erase {len(chosen.to_erase)} images for ever?", abort=True, err=True)
        eraser = Eraser(ledger, open_store(settings))
        erased = [] if dry_run else erase_command.erase(eraser, chosen, why)
    except (LookupError, ValueError) as error:
        fail(str(error.args[0]))
    if as_json:
        click.echo(json_text(erase_command.document(chosen, erased, dry_run=dry_run)))
    else:
        click.echo("Nothing was erased." if dry_run else f"Erased images: {len(erased)}.", err=True)


@nightread.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def retention(dry_run: bool, as_json: bool) -> None:
    """Remove what is older than the settings NIGHTREAD_KEEP_..._DAYS allow, now. `nightread watch` does it once a day."""
    from worker.commands import retention as retention_command

    settings = start("retention")
    document = retention_command.document(settings, open_ledger(settings), dry_run=dry_run)
    click.echo(json_text(document) if as_json else retention_command.as_text(document))


@nightread.command()
@click.argument("image_id", type=ID, metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def replay(image_id: int, as_json: bool) -> None:
    """Compute a prediction again and compare it with the record. Exit code 1 if it differs."""
    from worker.commands.replay import as_text, replay_image

    settings = start("replay")
    try:
        document = replay_image(settings, open_ledger(settings), image_id)
    except LookupError as error:
        fail(str(error.args[0]))
    click.echo(json_text(document) if as_json else as_text(document))
    sys.exit(0 if document["same"] else 1)


@nightread.command()
@click.argument("count", type=click.IntRange(1, 1_000_000))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--seed", type=int, default=0, help="Number of the first phantom.")
def phantom(count: int, folder: Path, seed: int) -> None:
    """Draw COUNT phantoms (marked test images that show no patient) in FOLDER."""
    from worker.config import read_settings
    from worker.keyfile import secret_key
    from worker.phantom import write_phantom
    from worker.progress import progress

    key_file = read_settings().phantom_key_path
    key = secret_key(key_file)
    folder.mkdir(parents=True, exist_ok=True)
    with progress(count, "Drawing") as advance:
        for number in range(seed, seed + count):
            finished = folder / f"phantom-{number:06d}.jpg"
            unfinished = finished.with_suffix(".jpg.part")
            write_phantom(unfinished, number, key=key)
            unfinished.rename(finished)
            advance(1)
    click.echo(f"Nightread shows them as phantoms if it uses the same key, {key_file}.", err=True)


@nightread.group()
def audit() -> None:
    """Verify and export the audit trail, and sign checkpoints."""


@audit.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option(
    "--public-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Public key of the checkpoints. Default: the one beside the private key.",
)
@click.option(
    "--at-least",
    type=_event_of_trail,
    metavar="SEQ:HASH",
    help="Number and hash of an event that the audit trail must have: keep them where nobody can change them.",
)
@click.option("--asked-in", type=ID, hidden=True)
def verify(
    as_json: bool, public_key: Path | None, at_least: tuple[int, str] | None, asked_in: int | None
) -> None:
    """Verify the audit trail, the tables against it, and every checkpoint. Exit code 1 if anything is wrong."""
    from worker.commands.verify import as_text
    from worker.commands.verify import verify as verify_all

    settings = start("audit")
    # Millions of rows pass by, and none of them is part of a cycle: the collector need not look for cycles that often.
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    report = verify_all(
        settings, open_ledger(settings), public_key=public_key, at_least=at_least, asked_in=asked_in
    )
    click.echo(json_text(report.document()) if as_json else as_text(report, settings))
    sys.exit(0 if report.ok else 1)


@audit.command(name="export")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["csv", "fhir"]),
    default="csv",
    help="CSV, or a FHIR R4 bundle of AuditEvent resources (IHE BALP). Default: csv.",
)
@click.option("--actor", type=check_line, metavar="ACTOR", help="Only of this actor, for example user:3.")
@click.option("--image", "image_id", type=ID, metavar="ID", help="Only about this image.")
@click.option("--kind", type=check_line, metavar="KIND", help="Only of this kind, for example view.")
@click.option("--since", type=_DAY, metavar="DAY", help="From this day on (UTC), for example 2026-11-25.")
@click.option("--until", type=_DAY, metavar="DAY", help="Up to this day, the day itself included.")
def export_trail(
    format_name: str,
    actor: str | None,
    image_id: int | None,
    kind: str | None,
    since: datetime | None,
    until: datetime | None,
) -> None:
    """Write the audit trail and the record of accesses to stdout, the latest first. This is itself recorded."""
    from worker.commands.audit_export import export
    from worker.ledger.trail import days_filter

    wanted = days_filter(actor, image_id, kind, since, until)
    for text in export(open_ledger(start("audit")), format_name, wanted):
        click.echo(text, nl=False)


@audit.command()
@click.option(
    "--every",
    "period_s",
    type=click.IntRange(1, 366 * 86_400),
    metavar="SECONDS",
    help="Sign again at this interval until SIGTERM, and send the checkpoints with NIGHTREAD_CHECKPOINT_COMMAND.",
)
def checkpoint(period_s: int | None) -> None:
    """Sign a checkpoint of the audit trail now. `nightread watch` does this every hour."""
    settings = start("audit")
    if period_s is not None:
        from worker.checkpoint_signer import sign_repeatedly

        sys.exit(sign_repeatedly(settings, period_s))
    new_checkpoint = _checkpoints(settings).take(open_ledger(settings))
    if new_checkpoint is None:
        click.echo(
            f"There is no new event since the last checkpoint in {settings.checkpoints_path}.", err=True
        )
    else:
        click.echo(
            f"Checkpoint of event {new_checkpoint.seq}, hash {new_checkpoint.hash}, written to {settings.checkpoints_path}.",
            err=True,
        )


def _checkpoints(settings: Settings) -> Checkpoints:
    from worker.checkpoints import Checkpoints

    return Checkpoints(settings.checkpoints_path, settings.checkpoint_key_path)


@nightread.group()
def db() -> None:
    """Maintain the database."""


@db.command()
def upgrade() -> None:
    """Create the database or upgrade its schema."""
    from worker.ledger import schema
    from worker.ledger.session import Ledger

    ledger = Ledger(start("db").migration_database)
    click.echo(f"The database is at revision {schema.upgrade(ledger)}.", err=True)


@db.command()
@click.option(
    "--bytes",
    "read_bytes",
    is_flag=True,
    help="Hash every stored file again. This is slow for a large image store.",
)
@click.option("--repair", is_flag=True, help="Apply safe automatic repairs first. No recorded image is lost.")
def check(read_bytes: bool, repair: bool) -> None:
    """Check schema, file count, audit trail, image store and inbox. Exit code 1 if something is wrong."""
    from worker.commands.check import as_text, check_all, repair_all

    settings = start("db")
    for sentence in repair_all(settings) if repair else ():
        click.echo(f"done   {sentence}")
    results = check_all(settings, read_bytes=read_bytes)
    for result in results:
        click.echo(as_text(result))
    sys.exit(0 if all(result.ok for result in results) else 1)


@db.command()
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
def backup(target: Path) -> None:
    """Copy the database to TARGET while it is in use."""
    from worker.commands import backup as backup_command
    from worker.ledger.maintenance import BackupFailed

    if not target.absolute().parent.is_dir():
        raise click.BadParameter(f"the folder {target.absolute().parent} does not exist", param_hint="TARGET")
    settings = start("db")
    try:
        backup_command.write(open_ledger(settings), target)
    except BackupFailed as error:
        fail(str(error))
    click.echo(f"The database was copied to {target}.", err=True)
    if settings.site_key_path.exists():
        click.echo(
            f"The site key {settings.site_key_path} is not in it. Keep a copy of it apart from the backups: "
            "nightread db site-key --copy-to FILE",
            err=True,
        )


@db.command(name="site-key")
@click.option(
    "--copy-to",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Copy the key to a new file that only you can read.",
)
@click.option("--new", is_flag=True, help="Make a new key, because the old one is lost for good.")
def site_key(target: Path | None, new: bool) -> None:
    """Say whether the key of the patients' pseudonyms is there, and copy it. Exit code 1 if it is lost."""
    from worker.commands import site_key as commands
    from worker.intake.site_key import SiteKeys

    settings = start("db")
    keys = SiteKeys(settings, open_ledger(settings))
    if new:
        click.confirm(
            "New images will not find earlier images of their patients. Make a new key?", abort=True
        )
        keys.replace()
    click.echo(commands.copy(keys, target) if target else commands.state(keys), err=True)


def main() -> None:
    """Run the command, and print an expected error as a sentence instead of a traceback."""
    try:
        nightread()
    except WrongSettings as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    except (ModelUnusable, SchemaOutdated, TransientFailure) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))


if __name__ == "__main__":
    main()
