"""Measures the processor time of each kind of process while the program works, and what is left of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress

import psutil

# The processes of `nightread up`, and what else the time of all cores goes to.
SCORING, RENDITIONS, IDLE, OTHERS = "scoring", "renditions", "idle", "other_programs"
# The children of these do other work than they: Celery's parent process only hands chunks out.
_CHILDREN = {"worker": SCORING, "watch": RENDITIONS}
_COMMAND = "worker.cli"


def processor_seconds(supervisor: psutil.Process) -> dict[str, float]:
    """Return the processor time so far, by kind of process, with `IDLE` and that of all `OTHERS`, in seconds.

    A process that has ended counts with its parent, as the kernel counts it.
    """
    seconds: defaultdict[str, float] = defaultdict(float)
    _add(seconds, supervisor, "supervisor")
    for process in supervisor.children():
        with suppress(psutil.NoSuchProcess):
            arguments = process.cmdline()
            name = arguments[-1] if _COMMAND in arguments else "broker"
            _add(seconds, process, name)
            for child in process.children(recursive=True):
                _add(seconds, child, _CHILDREN.get(name, name))
    machine = psutil.cpu_times()
    idle = machine.idle + getattr(machine, "iowait", 0.0)
    # Other guests of the host are other programs, too. The time of our own guests is part of that of users.
    busy = sum(getattr(machine, kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq", "steal"))
    return {**seconds, IDLE: idle, OTHERS: busy - sum(seconds.values())}


def ms_an_image(before: Mapping[str, float], after: Mapping[str, float], images: int) -> dict[str, float]:
    """Return the milliseconds of processor time for each image between two readings, the largest first."""
    spent = {name: 1e3 * (after[name] - before.get(name, 0.0)) / images for name in after}
    return {name: round(ms, 2) for name, ms in sorted(spent.items(), key=lambda item: -item[1])}


def _add(seconds: defaultdict[str, float], process: psutil.Process, name: str) -> None:
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        seconds[name] += times.user + times.system + times.children_user + times.children_system
