"""Uploads: each file goes straight to the incoming folder, then through the one way in."""

from __future__ import annotations

import io
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from flask import Request
from werkzeug.datastructures import FileStorage

from webui.dependencies import dependencies
from worker.errors import TransientFailure
from worker.intake.accept import Accepted, Candidate
from worker.ledger.states import Lane, Outcome, Source

# A request may bring several files of the largest size, and a folder of usual ones.
FILES_OF_LARGEST_SIZE = 8
_LONGEST_NAME = 1_000
_LONGEST_RUN = 100


class IncomingFile(io.FileIO):
    """An upload on its way to the disk: what exceeds the limit by more than a byte is let go.

    The byte over the limit is kept so that the file is turned away as too large, on record.
    """

    def __init__(self, path: Path, limit: int) -> None:
        """Make the file at `path`, for at most `limit` bytes."""
        super().__init__(path, "x+")
        self.path = path
        self._room = limit

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write what there is room for; the sender need not know of the rest."""
        kept = data[: self._room]
        self._room -= len(kept)
        while kept:
            kept = kept[super().write(kept) :]
        return len(data)


class IncomingRequest(Request):
    """A request whose files are written where the intake expects them, and removed after it."""

    incoming: list[Path]

    def _get_file_stream(
        self,
        total_content_length: int | None,  # noqa: ARG002 - werkzeug's signature
        content_type: str | None,  # noqa: ARG002
        filename: str | None = None,  # noqa: ARG002
        content_length: int | None = None,  # noqa: ARG002
    ) -> IO[bytes]:
        settings = dependencies().settings
        settings.incoming.mkdir(parents=True, exist_ok=True)
        path = settings.incoming / uuid.uuid4().hex
        self.__dict__.setdefault("incoming", []).append(path)
        return IncomingFile(path, settings.max_bytes + 1)

    def close(self) -> None:
        """Remove what was not taken in: its sender was not told that it had arrived."""
        super().close()
        for path in self.__dict__.get("incoming", []):
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Received:
    """What became of the files of one request.

    `missed` are names of files that could not be read again after they had arrived; `queued`
    is False when the broker was out of reach, and the images will be queued later.
    """

    accepted: Sequence[Accepted]
    missed: Sequence[str]
    queued: bool


def receive(request: Request, *, reader: str) -> Received:
    """Take in the files of a request, and the `run` that they belong to, if it names one.

    Raises TransientFailure, and then nothing was recorded; ValueError for a run of no such name.
    """
    dependencies().acceptor.check_free_space()
    candidates = _files_of(request)
    accepted = dependencies().acceptor.accept(
        candidates,
        source=Source.UPLOAD,
        lane=Lane.URGENT,
        run=run_name(request.form.get("run", "")),
        received_by=reader,
    )
    fresh = [item.image_id for item in accepted if item.outcome is Outcome.NEW]
    queued = dependencies().dispatcher.publish(fresh, Lane.URGENT) if fresh else True
    missed = Counter(item.name for item in candidates) - Counter(item.name for item in accepted)
    return Received(accepted, list(missed.elements()), queued)


def run_name(text: str) -> str | None:
    """The run that a person named, None for tonight's. Raises ValueError when it is no name."""
    name = " ".join(text.split())
    if len(name) > _LONGEST_RUN or not name.isprintable():
        raise ValueError(f"a run's name has at most {_LONGEST_RUN} characters, all of them visible")
    return name or None


def _files_of(request: Request) -> list[Candidate]:
    """Read the request to its end; its files are then in the incoming folder."""
    request.max_content_length = FILES_OF_LARGEST_SIZE * dependencies().settings.max_bytes
    try:
        return [_candidate(file) for file in request.files.getlist("files") if file.filename]
    except OSError as error:
        raise TransientFailure(f"an upload cannot be written: {error}") from error


def _candidate(file: FileStorage) -> Candidate:
    """The file on the disk, under the last part of the name that the browser gave."""
    file.stream.close()
    name = (file.filename or "").replace("\\", "/").rsplit("/", 1)[-1]
    return Candidate(file.stream.path, name[:_LONGEST_NAME] or "unnamed")  # type: ignore[attr-defined]
