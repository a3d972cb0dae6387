"""Structured logs on stderr: text for people, or one JSON object a line."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter

import structlog

from worker.config import Settings

_WITHOUT_TRACEBACK = ("celery.worker", "celery.bootsteps", "celery.concurrency", "kombu")
# While the broker refuses connections, Celery tries and logs five times a second.
_REPEATING_LOGGER = "celery.worker.consumer.consumer"
_REPEAT_ALLOWED_AFTER_S = 60.0
_IDS_SHOWN = 3
_WARNINGS_ONLY = ("alembic", "celery.app.trace", "celery.worker.strategy", "kombu", "watchdog", "PIL")


def _shorten_celery_errors(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Replace the traceback of an error inside Celery by one line: the usual cause is a lost broker.

    A defect in a task of ours is logged by `celery.app.trace`, and keeps its traceback.
    """
    record, error = event.get("_record"), event.get("exc_info")
    if record is not None and record.name.startswith(_WITHOUT_TRACEBACK) and isinstance(error, tuple):
        # A text of several lines is the traceback of a child; the message already names its error.
        text = f"{type(error[1]).__name__}: {error[1]}"
        if "\n" not in text:
            event["error"] = text
        del event["exc_info"]
    return event


def _count_ids(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Replace long lists of ids by their number, for people; JSON logs keep the ids."""
    for name, value in event.items():
        if isinstance(value, list) and len(value) > _IDS_SHOWN:
            event[name] = len(value)
        elif isinstance(value, dict) and len(value) > _IDS_SHOWN:
            event[name] = ", ".join(
                f"{count} {outcome}" for outcome, count in Counter(value.values()).most_common()
            )
    return event


class _RepeatFilter(logging.Filter):
    """Drops a message that was logged shortly before."""

    def __init__(self) -> None:
        super().__init__()
        self._last_logged: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log the record; messages are compared before their values are filled in."""
        message, now = str(record.msg), time.monotonic()
        if "connect" in message.lower():
            # Celery says in several ways that it cannot reach the broker.
            message = "connection"
        repeated = now - self._last_logged.get(message, -_REPEAT_ALLOWED_AFTER_S) < _REPEAT_ALLOWED_AFTER_S
        if not repeated:
            self._last_logged[message] = now
        return not repeated


def configure(settings: Settings, process: str) -> None:
    """Send the logs of structlog and of the libraries through one formatter, with the name of the process."""
    for_people = settings.log_format == "text"
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        # Not a context variable: the threads of a process have contexts of their own.
        lambda _logger, _method, event: {"process": process, **event},
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(
            fmt="%Y-%m-%d %H:%M:%S%z" if for_people else "iso", utc=not for_people
        ),
    ]
    last: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            pad_event_to=0,
            pad_level=False,
            exception_formatter=structlog.dev.plain_traceback,
        )
        if for_people
        else structlog.processors.JSONRenderer()
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            _shorten_celery_errors,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _count_ids if for_people else structlog.processors.format_exc_info,
            last,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    logging.getLogger(_REPEATING_LOGGER).filters[:] = [_RepeatFilter()]
    for name in _WARNINGS_ONLY:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
