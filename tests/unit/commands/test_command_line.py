"""The `nightread` command as a user calls it: exit codes, messages, and never a traceback."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from tests import commands
from tests.conftest import HANG_S
from tests.filling import fill, known_reader
from tests.ledgers import current_ledger
from tests.unit.ledger.test_audit import do_harm
from worker.config import ROOT, Settings
from worker.intake.phantoms import is_own_phantom
from worker.ledger import actors, audit, trail
from worker.ledger.accesses import AccessKind
from worker.ledger.session import Ledger
from worker.ledger.tables import AccessRecord, ChainHead, Run

pytestmark = pytest.mark.slow


def nightread(*arguments: str | bytes, **environment: str) -> subprocess.CompletedProcess[str]:
    completed = commands.run(*arguments, environment=environment, seconds=HANG_S)
    assert "Traceback" not in completed.stderr, completed.stderr
    return completed


@pytest.fixture
def ledger() -> Ledger:
    """The ledger of the default settings in the working directory of the test."""
    return current_ledger(Settings().database)


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "sentence"),
    [
        (["status"], {"NIGHTREAD_PORT": "http"}, 2, "NIGHTREAD_PORT: "),
        (["status"], {"NIGHTREAD_STORE": "s3://b/p"}, 2, "NIGHTREAD_STORE: "),
        (["status"], {"NIGHTREAD_DATABASE_URL": "postgresql://a:b@h:port/d"}, 2, "not a valid URL"),
        (["status"], {"NIGHTREAD_DATA": "/dev/null/data"}, 2, "/dev/null is not a folder"),
        (["status"], {}, 1, "Run `nightread db upgrade` first"),
        (
            ["status"],
            {"NIGHTREAD_DATABASE_URL": "postgresql://a:secret@127.0.0.1:9/d"},
            1,
            "cannot be used now",
        ),
        (["up"], {"NIGHTREAD_DATA": "/proc/nowhere"}, 2, "NIGHTREAD_DATA: the folder /proc/nowhere cannot"),
        (["up"], {"NIGHTREAD_MODEL": "/nowhere"}, 2, "NIGHTREAD_MODEL: "),
        (["up"], {"NIGHTREAD_OPERATING_POINT": "paranoid"}, 2, "NIGHTREAD_OPERATING_POINT: "),
        (["up"], {"NIGHTREAD_HOST": "not a host"}, 2, "NIGHTREAD_HOST: 'not a host' is not an address"),
        (["status"], {"NIGHTREAD_WORKER": "4"}, 2, "Did you mean NIGHTREAD_WORKERS?"),
        (["up"], {"NIGHTREAD_STORE": "data/inbox"}, 2, "must not be or lie in"),
        # Which model scores may stand in the database.
        (["worker"], {"NIGHTREAD_MODEL": "/nowhere"}, 1, "The database is not up to date."),
        (["retry", "1", "--why", b"\xff"], {}, 2, "printable characters"),
        (["retry", "1", "--why", "x" * 201], {}, 2, "at most 200"),
        (["retry", "1", "--why", "a\nb"], {}, 2, "one line"),
        (["retry", "99999999999999999999", "--why", "x"], {}, 2, "is not in the range"),
        (["import", ".", "--run", "a\x1b[2J"], {}, 2, "only printable ones"),
        (["db", "backup", "/dev/null/copy"], {}, 2, "/dev/null"),
        (["replay", "x"], {}, 2, "not a valid integer"),
        (["tokens", "add", "x", "--owner", "Ada", "--scope", "read"], {}, 2, "is not one of 'images:read'"),
        (["tokens", "revoke", "0"], {}, 2, "is not in the range"),
        (["screen"], {}, 2, "Missing argument"),
        (["audit", "burn"], {}, 2, "No such command"),
        (["audit", "verify", "--at-least", "3"], {}, 2, "the number of an event, a colon and its hash"),
        (["db", "backup", "/nowhere/copy"], {}, 2, "the folder /nowhere does not exist"),
        (["status"], {"NIGHTREAD_CHECKPOINT_COMMAND": "scp '"}, 2, "this is not a command"),
    ],
)
def test_expected_error_ends_in_a_sentence(
    arguments: list[str | bytes], environment: dict[str, str], status: int, sentence: str
) -> None:
    completed = nightread(*arguments, **environment)
    assert (completed.returncode, completed.stdout) == (status, "")
    assert sentence in completed.stderr
    assert "secret" not in completed.stderr


@pytest.mark.parametrize("toml", [b"port = \n", b"\xff\xfe", b"no_such_setting = 1\n"])
def test_invalid_settings_file_is_wrong_use(tmp_path: Path, toml: bytes) -> None:
    (tmp_path / "nightread.toml").write_bytes(toml)
    completed = nightread("status")
    assert completed.returncode == 2
    assert "nightread.toml" in completed.stderr or "NIGHTREAD_NO_SUCH_SETTING" in completed.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["retry", "99", "--why", "x"], "There is no image 99."),
        (["retry", "1", "--why", "x"], "Only rejected and quarantined images can be retried"),
        (["replay", "99"], "There is no image 99."),
        (["replay", "1"], "has no prediction"),
        (["report", "--run", "sunday"], "There is no run named 'sunday'."),
        (["db", "backup", "there"], "never overwrites a file"),
    ],
)
def test_negative_answer_is_exit_code_one_and_a_sentence(
    ledger: Ledger, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    fill(ledger, 1)
    (tmp_path / "there").touch()
    completed = nightread(*arguments)
    assert (completed.returncode, completed.stdout) == (1, "")
    assert sentence in completed.stderr


def test_json_option_prints_one_document_on_stdout(ledger: Ledger) -> None:
    fill(ledger, 1, 2)
    completed = nightread("audit", "verify", "--json")
    assert completed.returncode == 0
    verified = json.loads(completed.stdout)
    keys: dict[str, object] = {
        "ok": True,
        "events": 3,
        "first_bad": None,
        "head": "",
        "checkpoints": 0,
        "bad_checkpoint": None,
    }
    keys |= {
        "missing_checkpoint": None,
        "at_least": None,
        "mismatch_count": 0,
        "mismatches": [],
        "unproven": {},
        "erased": {},
    }
    assert {**verified, "head": ""} == keys
    status = json.loads(nightread("status", "--json").stdout)
    assert (status["received"], status["pending"], status["eta_s"]) == (2, 2, None)
    report = nightread("report", "--json")
    assert json.loads(report.stdout)["received"] == 2


def test_verification_and_export_are_themselves_on_record(ledger: Ledger) -> None:
    fill(ledger, 1)
    assert nightread("audit", "verify").returncode == 0
    first = nightread("audit", "export", "--format", "csv")
    assert first.returncode == 0
    kinds = [row["kind"] for row in csv.DictReader(io.StringIO(first.stdout))]
    assert kinds == ["trail", "trail_verified", "received", "run_started"]
    story = nightread("audit", "export", "--image", "1", "--kind", "received", "--format", "fhir")
    (entry,) = json.loads(story.stdout)["entry"]
    assert entry["resource"]["subtype"][-1]["code"] == "received"
    with ledger.reading() as session:
        last = trail.last_verification(session)
        assert last is not None
        assert (last.actor, last.ok) == (actors.operating_system_user(), True)
    assert nightread("audit", "export", "--since", "yesterday").returncode == 2


@pytest.mark.parametrize("form", ["text", "csv"])
def test_report_of_the_command_line_is_on_record(ledger: Ledger, form: str) -> None:
    fill(ledger, 1)
    assert nightread("report", "--run", "monday").returncode == 1
    assert nightread("report", "--format", form).returncode == 0
    with ledger.reading() as session:
        (access,) = session.query(AccessRecord)
        assert (access.kind, access.code) == (AccessKind.EXPORT, form)
        assert access.actor == actors.operating_system_user()
        assert access.run_id == session.query(Run).one().id


def test_backup_is_on_record_and_in_its_own_copy(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, 1)
    assert nightread("db", "backup", "copy").returncode == 0
    assert nightread("db", "backup", "copy").returncode == 1, (
        "it never overwrites a file, and exports nothing"
    )
    copy = Ledger(f"sqlite:///{tmp_path / 'copy'}")
    for kept in (ledger, copy):
        with kept.reading() as session:
            (access,) = session.query(AccessRecord)
            assert (access.kind, access.code, access.run_id) == (AccessKind.EXPORT, "backup", None)
            assert access.actor == actors.operating_system_user()
    copy.close()


def test_changed_row_fails_verify_and_check(ledger: Ledger) -> None:
    (image_id,) = fill(ledger, 1)
    assert "The tables match the audit trail." in nightread("audit", "verify").stdout
    with ledger.transaction() as session:
        session.execute(text("UPDATE image SET lane = 'urgent'"))
    verified = nightread("audit", "verify")
    sentence = f"image:{image_id}: lane is 'urgent', the audit trail says 'overnight'"
    assert (verified.returncode, sentence in verified.stdout) == (1, True)
    document = json.loads(nightread("audit", "verify", "--json").stdout)
    mismatch = {"subject": f"image:{image_id}", "what": "lane", "table": "urgent", "trail": "overnight"}
    assert (document["ok"], document["mismatch_count"], document["mismatches"]) == (False, 1, [mismatch])
    checked = nightread("db", "check")
    assert (checked.returncode, sentence in checked.stdout) == (1, True)


def test_checkpoint_reveals_a_truncated_audit_trail(ledger: Ledger) -> None:
    fill(ledger, 1, 2)
    assert nightread("audit", "checkpoint").stderr.startswith("Checkpoint of event 3, ")
    assert "There is no new event since the last checkpoint" in nightread("audit", "checkpoint").stderr
    whole = nightread("audit", "verify")
    assert whole.returncode == 0
    assert "Valid signed checkpoints: 1." in whole.stdout
    do_harm(ledger, "DELETE FROM audit_event WHERE seq >= 3")
    with ledger.transaction() as session:
        (head,) = session.query(ChainHead)
        head.seq, head.hash = 2, audit.hash_of(session, 2) or ""
    cut = nightread("audit", "verify")
    assert cut.returncode == 1
    assert "The audit trail is intact: 2 events" in cut.stdout
    assert "DOES NOT MATCH ITS CHECKPOINTS: line 1 of " in cut.stdout
    assert json.loads(nightread("audit", "verify", "--json").stdout)["bad_checkpoint"] == 1
    checked = nightread("db", "check")
    assert (checked.returncode, "DOES NOT MATCH ITS CHECKPOINTS" in checked.stdout) == (1, True)


def test_missing_checkpoints_and_another_trail_fail_verify_and_check(ledger: Ledger) -> None:
    fill(ledger, 1)
    nightread("audit", "checkpoint")
    with ledger.reading() as session:
        seq, head = audit.head(session)
    assert nightread("audit", "verify", "--at-least", f"{seq}:{head}").returncode == 0
    other = nightread("audit", "verify", "--at-least", f"{seq}:{'0' * 64}")
    assert (other.returncode, "NOT THE ONE OF --at-least" in other.stdout) == (1, True)
    Settings().checkpoints_path.unlink()
    sentence = "A CHECKPOINT IS MISSING: the audit trail names one of event 2"
    for command in (("audit", "verify"), ("db", "check")):
        completed = nightread(*command)
        assert (completed.returncode, sentence in completed.stdout) == (1, True)


def test_screen_reports_missing_files_and_undecodable_names(tmp_path: Path) -> None:
    strange = os.fsencode(tmp_path) + b"/M\xfcller\x1b[2J.jpg"
    Path(os.fsdecode(strange)).write_bytes(b"Dear colleague")
    completed = nightread("screen", "--json", strange, "gone.jpg")
    assert completed.returncode == 1
    letter, gone = json.loads(completed.stdout)
    assert letter["file"] == f"{tmp_path}/M\\xfcller\x1b[2J.jpg"
    assert (letter["outcome"], letter["p_pneumonia"]) == ("rejected", None)
    assert (gone["outcome"], gone["reason"]) == (
        "unreadable",
        "The file cannot be read: No such file or directory.",
    )
    text = nightread("screen", strange)
    assert text.returncode == 1
    assert "\x1b" not in text.stdout
    assert "rejected: The file is not an image" in text.stdout


def test_screen_reads_no_file_that_is_too_large(tmp_path: Path) -> None:
    huge = tmp_path / "huge.jpg"
    with huge.open("wb") as file:
        file.write(b"\xff\xd8\xff")
        file.truncate(1 << 42)
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    sender = threading.Thread(target=pipe.write_bytes, args=(b"Dear colleague",))
    sender.start()
    completed = nightread("screen", "--json", str(huge), "/dev/zero", str(pipe))
    sender.join()
    huge_one, endless, piped = json.loads(completed.stdout)
    assert huge_one["reason"] == f"The file has {1 << 42} bytes; the limit is {Settings().max_bytes}."
    assert "the limit is" in endless["reason"]
    assert "is not an image" in piped["reason"]


def test_help_imports_no_network_and_no_database() -> None:
    program = "import sys; sys.argv = ['nightread', '--help']; from worker import cli\ntry: cli.main()\n"
    program += (
        "except SystemExit: print(sorted({'tensorflow', 'keras', 'ai_edge_litert', 'sqlalchemy', 'flask'}"
    )
    program += " & set(sys.modules)))"
    completed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert completed.stdout.splitlines()[-1] == "[]"
    assert "not a medical device" in completed.stdout.lower()


@pytest.mark.parametrize("command", ["bench", "bench-dicom", "bench-ledger"])
def test_bench_outside_a_source_checkout_says_so(command: str) -> None:
    program = "import sys; sys.modules['bench'] = None; from worker.cli import main; main()"
    completed = subprocess.run(
        [sys.executable, "-c", program, command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (completed.returncode, completed.stdout) == (1, "")
    assert completed.stderr == (
        f"`nightread {command}` is not installed. Run it from a copy of Nightread's source code.\n"
    )


def test_phantom_marks_its_drawings_with_the_key_of_the_data_folder(tmp_path: Path) -> None:
    data, drawings = tmp_path / "data", tmp_path / "drawings"
    drawn = nightread("phantom", "1", str(drawings), NIGHTREAD_DATA=str(data))
    assert drawn.returncode == 0
    assert str(data / "phantom.key") in drawn.stderr
    (path,) = drawings.iterdir()
    with path.open("rb") as file:
        assert is_own_phantom(file, data / "phantom.key")


@pytest.mark.parametrize("command", [["up"], ["status"], ["db", "check"], ["db", "upgrade"]])
def test_file_that_is_no_database_is_a_wrong_setting(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "script.py").write_text("import os")
    done = nightread(*command, NIGHTREAD_DATABASE_URL=f"sqlite:///{tmp_path}/script.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("NIGHTREAD_DATABASE_URL: ")
    assert not (tmp_path / "data").exists()


def test_roles_are_given_by_their_names(ledger: Ledger) -> None:
    assert nightread("users", "add", "Ada", "--role", "reader", "--role", "auditor").returncode == 0
    (ada,) = json.loads(nightread("users", "list", "--json").stdout)
    assert (ada["name"], ada["roles"]) == ("Ada", ["auditor", "reader"])


def test_token_command_prints_the_key_alone_and_once(ledger: Ledger) -> None:
    known_reader(ledger, "Ada")
    refused = nightread("tokens", "add", "script", "--owner", "Ada", "--scope", "metrics")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "The roles of the owner do not allow the scope metrics." in refused.stderr
    added = nightread("tokens", "add", "script", "--owner", "Ada", "--scope", "images:write")
    assert (added.returncode, re.fullmatch("nr_[0-9a-f]{64}\n", added.stdout) is not None) == (0, True)
    listed = nightread("tokens", "list", "--json")
    assert added.stdout.strip() not in listed.stdout
    assert [token["name"] for token in json.loads(listed.stdout)] == ["script"]
    assert nightread("tokens", "revoke", "1").returncode == 0
    unknown = nightread("tokens", "revoke", "2")
    assert (unknown.returncode, unknown.stderr.strip()) == (1, "There is no token 2.")
