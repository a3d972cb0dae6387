"""`nightread users passphrase`: asks twice on a terminal, else reads one line."""

from __future__ import annotations

import io
import os
import subprocess

import pytest
from sqlalchemy import select

from tests import commands
from tests.conftest import HANG_S
from tests.ledgers import current_ledger
from tests.signing_in import session_key
from worker import cli_people
from worker.config import Settings
from worker.ledger.session import Ledger
from worker.ledger.tables import AuditEvent, BrowserSession, User
from worker.passphrases import rules
from worker.passphrases.hashing import matches

pytestmark = pytest.mark.slow

OWN = "sieben müde Füchse am Ofen"


@pytest.fixture
def ledger() -> Ledger:
    """The ledger of the default settings in the working directory of the test, with a person who is signed in."""
    made = current_ledger(Settings().database)
    session_key(made, "Ada")
    return made


def passphrase(typed: bytes, name: str = "Ada") -> subprocess.CompletedProcess[str]:
    done = commands.run("users", "passphrase", name, stdin=typed, seconds=HANG_S)
    assert "Traceback" not in done.stderr
    return done


def stored(ledger: Ledger) -> str | None:
    with ledger.reading() as session:
        return session.scalars(select(User.passphrase_hash).where(User.name == "Ada")).one()


def test_line_of_the_standard_input_is_the_passphrase(ledger: Ledger) -> None:
    done = passphrase(f"{OWN}\nwhat follows is ignored\n".encode())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert matches(stored(ledger), OWN)
    with ledger.reading() as session:
        assert session.scalars(select(BrowserSession.ended_at)).one() is not None, "the session has ended"
        actors = session.scalars(select(AuditEvent.actor).where(AuditEvent.kind == "passphrase_set"))
        assert actors.all() == [f"os:{os.getuid()}"]


@pytest.mark.parametrize(
    ("typed", "name", "sentence"),
    [
        (b"too short\n", "Ada", rules.TOO_SHORT),
        (b"", "Ada", rules.TOO_SHORT),
        (b"ada ada nightread xray 1\n", "Ada", rules.CONTEXT),
        (
            b"sieben m\xfcde F\xfcchse am Ofen\n",
            "Ada",
            "The passphrase on the standard input is not UTF-8 text.",
        ),
        (f"{OWN}\n".encode(), "Nobody", "There is no person with the name 'Nobody'."),
    ],
)
def test_refused_passphrase_has_a_sentence(ledger: Ledger, typed: bytes, name: str, sentence: str) -> None:
    done = passphrase(typed, name)
    assert done.returncode == 1
    assert done.stderr.startswith(sentence)
    assert ".." not in done.stderr
    assert stored(ledger) is None


class Terminal(io.StringIO):
    """A standard input that a person types on."""

    def isatty(self) -> bool:
        return True


def test_terminal_asks_until_the_same_was_typed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [OWN, "another one entirely", OWN, OWN]
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda _prompt: answers.pop(0))
    assert cli_people._typed_passphrase() == OWN
    assert answers == []
