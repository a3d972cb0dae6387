"""worker.logs, each test in its own process, because logging is configured for a whole process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import logging, sys
from worker import logs
from worker.config import Settings
logs.configure(Settings(log_format=sys.argv[2]), "worker")
try:
    raise ConnectionError("the broker\\nis gone" if "lines" in sys.argv else "the broker is gone")
except ConnectionError:
    for number in range(100 if "again" in sys.argv else 1):
        logging.getLogger(sys.argv[1]).exception("it happened%s", f", time {number}" if number else "")
    if "again" in sys.argv:
        logging.getLogger(sys.argv[1]).error("another thing happened")
"""


def logged(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True
    ).stderr


def test_an_error_inside_celery_is_one_line() -> None:
    (line,) = logged("celery.worker.consumer", "text").splitlines()
    assert "it happened" in line
    assert "ConnectionError: the broker is gone" in line


def test_a_long_error_inside_celery_leaves_its_message() -> None:
    (line,) = logged("celery.worker.request", "text", "lines").splitlines()
    assert "it happened" in line


def test_repeated_messages_of_celery_are_dropped() -> None:
    text = logged("celery.worker.consumer.consumer", "text", "again")
    assert text.count("it happened") == 1
    assert text.count("another thing happened") == 1
    assert logged("celery.worker.request", "text", "again").count("it happened") == 100


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_defect_of_ours_keeps_its_traceback(form: str) -> None:
    text = logged("celery.app.trace", form)
    assert "Traceback (most recent call last)" in text
    if form == "json":
        assert json.loads(text)["process"] == "worker"


@pytest.mark.parametrize(
    ("form", "expected"),
    [("text", ["new=256", "2 clear, 2 flagged", "rejected=[7]"]), ("json", ["255, 256]", '"rejected": [7]'])],
)
def test_text_logs_count_ids_and_json_logs_list_them(form: str, expected: list[str]) -> None:
    program = (
        "import structlog; from worker import logs; from worker.config import Settings; "
        f"logs.configure(Settings(log_format={form!r}), 'watch'); "
        "structlog.get_logger().info('accepted files', new=list(range(1, 257)), rejected=[7], "
        "outcomes={1: 'clear', 2: 'flagged', 3: 'clear', 4: 'flagged'})"
    )
    text = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr
    assert all(part in text for part in expected), text
