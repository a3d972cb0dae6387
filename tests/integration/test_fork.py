"""A worker forks its children while it writes heartbeats. No child may inherit a lock or a connection."""

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
lock = fork_lock(ledger)
transaction_is_open = threading.Event()

def write_heartbeat(ledger, name, pause=0):
    with ledger.transaction() as open_session:
        heartbeats.record_heartbeat(open_session, name, period_s=1, at=session.utc_now())
        transaction_is_open.set()
        time.sleep(pause)

def parent():
    with lock:
        write_heartbeat(ledger, "parent", pause=0.5)

thread = threading.Thread(target=parent)
thread.start()
transaction_is_open.wait()
child = os.fork()
if not child:
    try:
        assert ledger.engine.pool.checkedin() == 0, "the child has inherited a connection"
        write_heartbeat(session.Ledger(sys.argv[1]), "child")
        os._exit(0)
    finally:
        os._exit(1)
status = os.waitpid(child, 0)[1]
thread.join()
with lock:
    write_heartbeat(ledger, "parent again")
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_child_forked_during_a_heartbeat_can_write(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    parent = subprocess.run(
        [sys.executable, "-c", PROGRAM, url], cwd=ROOT, capture_output=True, check=False, timeout=HANG_S
    )
    assert parent.returncode == 0, parent.stderr.decode()
