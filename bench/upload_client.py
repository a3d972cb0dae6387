"""An API client that uploads one file and waits for its outcome."""

from __future__ import annotations

import http.client
import json
import time
import uuid
from functools import cache
from pathlib import Path
from typing import Any

from bench.signing_in import token_headers
from worker.config import Settings
from worker.ledger.session import Ledger

_POLL_S = 0.05
_FINAL = {"scored", "rejected", "quarantined"}


def upload(settings: Settings, path: Path) -> dict[str, Any]:
    """Upload the file, wait until the image has its outcome, and return its document from the API.

    Raises OSError or http.client.HTTPException if the web process does not answer.
    """
    connection = http.client.HTTPConnection("127.0.0.1", settings.port, timeout=60)
    signed_in = _signed_in(settings)
    try:
        boundary = uuid.uuid4().hex
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{path.name}"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        )
        body = head.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            **signed_in,
        }
        receipts = _request(connection, "POST", "/api/v1/images", body, headers)
        image_id = receipts[0]["image"]
        while (image := _request(connection, "GET", f"/api/v1/images/{image_id}", None, signed_in))[
            "state"
        ] not in _FINAL:
            time.sleep(_POLL_S)
    finally:
        connection.close()
    return dict(image)


@cache
def _signed_in(settings: Settings) -> dict[str, str]:
    """Return the headers of a program with a token."""
    ledger = Ledger(settings.database)
    try:
        return token_headers(ledger)
    finally:
        ledger.close()


def _request(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Any:
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    text = response.read()
    if response.status >= http.client.BAD_REQUEST:
        raise http.client.HTTPException(f"{method} {path}: {response.status} {text[:200]!r}")
    return json.loads(text)
