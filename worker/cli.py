"""The `nightread` command. Each subcommand imports what it needs when it is called.

Exit codes: 0 success, 1 failure or a failed check, 2 wrong use. With `--json` stdout carries one JSON
document and nothing else; messages for people go to stderr.
"""

from __future__ import annotations

import importlib
import json
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from worker import DISCLAIMER, __version__
from worker.errors import ModelUnusable, SchemaOutdated, TransientFailure, WrongSettings

if TYPE_CHECKING:
    from worker.checkpoints import Checkpoints
    from worker.config import Settings
    from worker.ledger.session import Ledger

# Commands of other packages, which this package must not import: name -> (module:function, line in --help).
_ELSEWHERE = {
    "web": ("webui.cli:web", "Run the web interface."),
    "explore": ("training.cli:explore", "Report on labelled images before a model is trained on them."),
    "train": ("training.cli:train", "Train a model from a folder of labelled images."),
    "evaluate": ("training.cli:evaluate", "Measure a model on labelled images."),
    "export": ("training.cli:export", "Export a model to LiteRT or ONNX for other software."),
    "bench": ("bench.cli:bench", "Measure this machine: throughput, its upper limit, uploads under load."),
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
            _fail(f"`nightread {cmd_name}` is not installed. Run it from a copy of Nightread's source code.")
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


def _check_line(value: str) -> str:
    """Accept one line of text that every database and every terminal can show."""
    if not value.isprintable() or len(value) > _MAX_LINE:
        raise click.BadParameter(f"must be one line of at most {_MAX_LINE} printable characters")
    return value


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


_MAX_LINE = 200
_ID = click.IntRange(1, 2**63 - 1)


@click.group(cls=_Commands, epilog=DISCLAIMER, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nightread")
def nightread() -> None:
    """Screen chest X-rays overnight. In the morning, a person reads the flagged ones."""


@nightread.command()
def up() -> None:
    """Start all processes on this machine. Ctrl-C stops them."""
    # Until the supervisor installs its own handlers, Ctrl-C must end this process at once. An import could
    # swallow a KeyboardInterrupt, and all processes would start although somebody pressed Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from worker import supervisor

    settings = _start("up")
    try:
        sys.exit(supervisor.up(settings))
    except supervisor.CannotStart as error:
        _fail(str(error))


@nightread.command()
def watch() -> None:
    """Run the watcher and the sweeper.

    The watcher accepts files from the inbox. The sweeper queues lost images again.
    """
    from worker import processes

    sys.exit(processes.watch(_start("watch")))


@nightread.command()
def worker() -> None:
    """Run the scoring processes."""
    from worker import processes

    sys.exit(processes.work(_start("worker")))


@nightread.command(hidden=True)
def broker() -> None:
    """Run the bundled broker."""
    from worker import processes

    sys.exit(processes.broker(_start("broker")))


@nightread.command(name="import")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--run", "run_name", type=_check_run, metavar="TEXT", help="Name of the run. Default: the current night."
)
@click.option("--wait", is_flag=True, help="Wait until no image is pending or being scored.")
def import_(folder: Path, run_name: str | None, wait: bool) -> None:
    """Import a whole folder and queue its images. The files stay where they are."""
    from worker.commands import import_folder

    import_folder.import_folder(_start("import"), folder.absolute(), run_name, wait=wait)


@nightread.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def screen(files: tuple[Path, ...], as_json: bool) -> None:
    """Score files now, without queue or database. Exit code 1 if a file could not be scored."""
    from worker.commands import screen_files

    documents = screen_files.screen_files(_start("screen"), files)
    click.echo(_json(documents) if as_json else screen_files.as_text(documents))
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

    settings = _start("status")
    ledger = _ledger(settings)
    if process:
        sys.exit(0 if is_alive(ledger, process) else 1)
    while True:
        status_document = document(ledger)
        if refresh:
            click.clear()
        click.echo(_json(status_document) if as_json else as_text(status_document))
        if not refresh:
            sys.exit(0 if status_document["balanced"] else 1)
        pause()


@nightread.command()
@click.option(
    "--run", "run_name", type=_check_line, metavar="TEXT", help="Name of the run. Default: the latest run."
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
    from worker.report.content import read_report
    from worker.report.formats import FORMATS

    settings = _start("report")
    with _ledger(settings).reading() as session:
        try:
            content = read_report(session, run_name)
        except LookupError as error:
            _fail(str(error.args[0]))
    click.echo(FORMATS["json" if as_json else format_name](content), nl=False)
    sys.exit(0 if content.figures.run.file_counts.balanced else 1)


@nightread.command()
@click.argument("image_ids", nargs=-1, required=True, type=_ID, metavar="ID...")
@click.option(
    "--why",
    type=_check_line,
    metavar="TEXT",
    required=True,
    help="Reason for the retry. Nightread records it.",
)
@click.option(
    "--who",
    type=_check_line,
    metavar="TEXT",
    help="Your name. Nightread records it like the name of a reader.",
)
def retry(image_ids: tuple[int, ...], why: str, who: str | None) -> None:
    """Retry rejected or quarantined images."""
    from worker.commands.retry import retry_images

    errors = retry_images(_start("retry"), image_ids, who=who, why=why)
    for error in errors:
        click.echo(error, err=True)
    sys.exit(1 if errors else 0)


@nightread.command()
@click.argument("image_id", type=_ID, metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def replay(image_id: int, as_json: bool) -> None:
    """Compute a prediction again and compare it with the record. Exit code 1 if it differs."""
    from worker.commands.replay import as_text, replay_image

    settings = _start("replay")
    try:
        document = replay_image(settings, _ledger(settings), image_id)
    except LookupError as error:
        _fail(str(error.args[0]))
    click.echo(_json(document) if as_json else as_text(document))
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
    """Verify the audit trail and sign checkpoints."""


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
def verify(as_json: bool, public_key: Path | None, at_least: tuple[int, str] | None) -> None:
    """Verify the audit trail, the tables against it, and every checkpoint. Exit code 1 if anything is wrong."""
    from worker.commands.verify import as_text
    from worker.commands.verify import verify as verify_all

    settings = _start("audit")
    report = verify_all(settings, _ledger(settings), public_key=public_key, at_least=at_least)
    click.echo(_json(report.document()) if as_json else as_text(report, settings))
    sys.exit(0 if report.ok else 1)


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
    settings = _start("audit")
    if period_s is not None:
        from worker.checkpoint_signer import sign_repeatedly

        sys.exit(sign_repeatedly(settings, period_s))
    new_checkpoint = _checkpoints(settings).take(_ledger(settings))
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

    ledger = Ledger(_start("db").migration_database)
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

    settings = _start("db")
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
    from worker.ledger import maintenance

    if not target.absolute().parent.is_dir():
        raise click.BadParameter(f"the folder {target.absolute().parent} does not exist", param_hint="TARGET")
    try:
        maintenance.backup(_ledger(_start("db")), target)
    except maintenance.BackupFailed as error:
        _fail(str(error))
    click.echo(f"The database was copied to {target}.", err=True)


def main() -> None:
    """Run the command, and print an expected error as a sentence instead of a traceback."""
    try:
        nightread()
    except WrongSettings as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    except (ModelUnusable, SchemaOutdated, TransientFailure) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))


def _start(process: str) -> Settings:
    """Read the settings and set up the logs. Raises WrongSettings."""
    from worker import logs
    from worker.config import read_settings
    from worker.folders import make_private

    settings = read_settings()
    make_private()
    logs.configure(settings, process)
    return settings


def _ledger(settings: Settings) -> Ledger:
    from worker.ledger.schema import open_ledger

    return open_ledger(settings.database)


def _json(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)


def _fail(sentence: str) -> NoReturn:
    click.echo(sentence, err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
