"""Uploads: each file is written to the incoming folder while it arrives, then accepted like any other file."""

from __future__ import annotations

import io
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, cast

from flask import Request, abort
from werkzeug.datastructures import FileStorage
from werkzeug.formparser import FormDataParser

from webui.access import identity
from webui.dependencies import dependencies
from worker.errors import TransientFailure
from worker.imagefile.identity import AgeSource, Identity
from worker.intake.accept import Accepted
from worker.intake.source import Candidate
from worker.intake.stated import FIELDS, identity_of
from worker.ledger.runs import checked_run_name
from worker.ledger.states import Lane, Outcome, Source

# A request may hold this many files of the largest size, or many smaller ones.
MAX_SIZE_FILES_PER_REQUEST = 8
MAX_FILES = 1_000
_FIELD = "files"
# Each file and each field is a part of the form.
MAX_PARTS = MAX_FILES + len({"run", *FIELDS})
_MAX_NAME = 1_000


class IncomingFile(io.FileIO):
    """An upload on its way to the disk, cut off at `limit` bytes.

    The limit is one byte more than a file may have, so that intake sees a file that is too large and rejects
    it, with a receipt.
    """

    def __init__(self, path: Path, limit: int) -> None:
        """Create the file at `path`."""
        super().__init__(path, "x+")
        self.path = path
        self._bytes_left = limit

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write up to the limit and discard the rest. Return the length of `data`, as if all had been written."""
        remaining = data[: self._bytes_left]
        self._bytes_left -= len(remaining)
        while remaining:
            remaining = remaining[super().write(remaining) :]
        return len(data)


class IncomingRequest(Request):
    """A request whose files are written to the incoming folder, and removed when the request ends."""

    incoming: list[IncomingFile]

    def _get_file_stream(
        self,
        total_content_length: int | None,  # noqa: ARG002 - the signature is werkzeug's
        content_type: str | None,  # noqa: ARG002
        filename: str | None = None,  # noqa: ARG002
        content_length: int | None = None,  # noqa: ARG002
    ) -> IO[bytes]:
        settings = dependencies().settings
        settings.incoming.mkdir(parents=True, exist_ok=True)
        arrived = self.__dict__.setdefault("incoming", [])
        if arrived:
            # The files of a few requests would use up what the process may open.
            arrived[-1].close()
        arrived.append(IncomingFile(settings.incoming / uuid.uuid4().hex, settings.max_bytes + 1))
        return cast("IncomingFile", arrived[-1])

    def make_form_data_parser(self) -> FormDataParser:
        """Return a parser that raises ValueError for a damaged form; by default it would drop the form's parts."""
        parser = super().make_form_data_parser()
        parser.silent = False
        return parser

    def _load_form_data(self) -> None:
        try:
            super()._load_form_data()
        except ValueError:
            abort(400, "The form in the request's body is damaged or incomplete. Nothing was accepted.")

    def close(self) -> None:
        """Remove the files that were not accepted. Their sender got no receipt for them."""
        super().close()
        for file in self.__dict__.get("incoming", []):
            file.close()
            file.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class UploadResult:
    """The result of one request's files.

    `missed` names files that could not be read after they had arrived. `queued` is False when the broker
    could not be reached; the images are queued later.
    """

    accepted: Sequence[Accepted]
    missed: Sequence[str]
    queued: bool


def accept_upload(request: Request) -> UploadResult:
    """Accept the files of a request into the run that its field `run` names, by default tonight's.

    The fields `patient`, `age_years`, `sex` and `view` are about the patient of all files of the request.

    Raises:
        TransientFailure: nothing was recorded.
        ValueError: the name of the run, or what is stated about the patient, is not valid.
    """
    dependencies().acceptor.check_free_space()
    files, stated = _files_of(request), _stated(request)
    candidates = [replace(file, stated=stated) for file in files]
    run = checked_run_name(request.form.get("run", ""))
    accepted = dependencies().acceptor.accept(
        candidates,
        source=Source.UPLOAD,
        lane=Lane.URGENT,
        run=run,
        received_by=identity.current().actor,
    )
    new_ids = [item.image_id for item in accepted if item.outcome is Outcome.NEW]
    queued = dependencies().dispatcher.publish(new_ids, Lane.URGENT) if new_ids else True
    missed = Counter(item.name for item in candidates) - Counter(item.name for item in accepted)
    return UploadResult(accepted, list(missed.elements()), queued)


def _files_of(request: Request) -> list[Candidate]:
    """Read the request to its end. Its files are in the incoming folder afterwards."""
    request.max_content_length = MAX_SIZE_FILES_PER_REQUEST * dependencies().settings.max_bytes
    try:
        files = [(field, file) for field, file in request.files.items(multi=True) if not _is_nothing(file)]
        if len(files) > MAX_FILES:
            abort(413)
        if _FIELD in request.form:
            raise ValueError(f"the field {_FIELD!r} has text in it and no file")
        for field, file in files:
            if field != _FIELD:
                raise ValueError(
                    f"the file {file.filename!r} is in the field {field!r}; send files in {_FIELD!r}"
                )
        return [_candidate(file) for _, file in files]
    except OSError as error:
        raise TransientFailure(f"an upload cannot be written: {error}") from error


def _stated(request: Request) -> Identity | None:
    """Return what the form states about the patient. Raises ValueError, whose message repeats no value."""
    values = {name: request.form.getlist(name) for name in FIELDS}
    for name, given in values.items():
        if len(given) > 1:
            raise ValueError(f"send the field `{name}` once: it holds for all files of the request")
    first = {name: given[0] for name, given in values.items() if given}
    return identity_of(first, AgeSource.FORM, dependencies().acceptor.site_keys.key)


def _is_nothing(file: FileStorage) -> bool:
    """Return whether a browser sent this part for a field in which no file was chosen."""
    return not file.filename and _path(file).stat().st_size == 0


def _candidate(file: FileStorage) -> Candidate:
    """Return the file on the disk with the last component of the name that the browser sent."""
    file.stream.close()
    name = (file.filename or "").replace("\\", "/").rsplit("/", 1)[-1]
    return Candidate(_path(file), name[:_MAX_NAME] or "unnamed")


def _path(file: FileStorage) -> Path:
    return cast("IncomingFile", file.stream).path
