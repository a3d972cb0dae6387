"""Structured logs on stderr: for people, or one JSON object a line."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter

import structlog

from worker.config import Settings

_TERSE = ("celery.worker", "celery.bootsteps", "celery.concurrency", "kombu")
# A broker that refuses makes Celery try, and say so, five times a second.
_REPEATS = "celery.worker.consumer.consumer"
_REPEAT_AFTER_S = 10.0
_IDS_SHOWN = 3
_QUIET = ("alembic", "celery.app.trace", "celery.worker.strategy", "kombu", "watchdog", "PIL")


def _shorten_celery_errors(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """A broker that went away is Celery's to live with; a hundred lines of its insides help nobody.

    A defect in a task of ours is logged by `celery.app.trace`, and keeps its traceback.
    """
    record, error = event.get("_record"), event.get("exc_info")
    if record is not None and record.name.startswith(_TERSE) and isinstance(error, tuple):
        # Of several lines it is a child's traceback, and the message names its error already.
        text = f"{type(error[1]).__name__}: {error[1]}"
        if "\n" not in text:
            event["error"] = text
        del event["exc_info"]
    return event


def _count_ids(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """How many, where a machine is told which: a person who watches does not read hundreds of ids."""
    for name, value in event.items():
        if isinstance(value, list) and len(value) > _IDS_SHOWN:
            event[name] = len(value)
        elif isinstance(value, dict) and len(value) > _IDS_SHOWN:
            event[name] = ", ".join(
                f"{count} {what}" for what, count in Counter(value.values()).most_common()
            )
    return event


class _RepeatFilter(logging.Filter):
    """Lets a sentence through once in a while, however often it is said."""

    def __init__(self) -> None:
        super().__init__()
        self._last_logged: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it was not said lately; by its wording, without what was filled in."""
        sentence, now = str(record.msg), time.monotonic()
        repeated = now - self._last_logged.get(sentence, -_REPEAT_AFTER_S) < _REPEAT_AFTER_S
        if not repeated:
            self._last_logged[sentence] = now
        return not repeated


def configure(settings: Settings, process: str) -> None:
    """Send structlog's and the libraries' own logs through one formatter, named by process."""
    for_people = settings.log_format == "text"
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if for_people else "iso", utc=not for_people),
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
    logging.getLogger(_REPEATS).filters[:] = [_RepeatFilter()]
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
