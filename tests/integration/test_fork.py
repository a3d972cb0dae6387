"""A worker beats in the ledger while it forks its children; none of them may be born with a lock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import HANG_S
from worker.config import ROOT

PROGRAM = """
import os, sys, threading, time
from worker.ledger import heartbeats, schema, session
from worker.heartbeat import fork_lock

session.BUSY_TIMEOUT_S = 3
ledger = session.Ledger(sys.argv[1])
schema.upgrade(ledger)
turn = fork_lock(ledger)
in_the_middle = threading.Event()

def beat(ledger, name, pause=0):
    with ledger.transaction() as open_session:
        heartbeats.record_heartbeat(open_session, name, period_s=1, at=session.utc_now())
        in_the_middle.set()
        time.sleep(pause)

def parent():
    with turn:
        beat(ledger, "parent", pause=0.5)

thread = threading.Thread(target=parent)
thread.start()
in_the_middle.wait()
child = os.fork()
if not child:
    try:
        assert ledger.engine.pool.checkedin() == 0, "no connection is inherited"
        beat(session.Ledger(sys.argv[1]), "child")
        os._exit(0)
    finally:
        os._exit(1)
status = os.waitpid(child, 0)[1]
thread.join()
with turn:
    beat(ledger, "parent again")
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_child_forked_during_a_heartbeat_can_write(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    born = subprocess.run(
        [sys.executable, "-c", PROGRAM, url], cwd=ROOT, capture_output=True, check=False, timeout=HANG_S
    )
    assert born.returncode == 0, born.stderr.decode()
