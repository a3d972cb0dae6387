"""Upload one file through the API and wait for its verdict, as any client would."""

from __future__ import annotations

import http.client
import json
import time
import uuid
from pathlib import Path
from typing import Any

from worker.config import Settings

_ASK_EVERY_S = 0.05
_FINAL = {"scored", "rejected", "quarantined"}


def upload(settings: Settings, path: Path) -> dict[str, Any]:
    """Send the file, then ask until it has its outcome; what the API says of the image then.

    Raises OSError or http.client.HTTPException when the page does not answer.
    """
    connection = http.client.HTTPConnection("127.0.0.1", settings.port, timeout=60)
    try:
        boundary = uuid.uuid4().hex
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{path.name}"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        )
        body = head.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "X-Nightread-Reader": "bench",
        }
        said = _ask(connection, "POST", "/api/v1/images", body, headers)
        image_id = (said["images"] if isinstance(said, dict) else said)[0]["image"]
        while (image := _ask(connection, "GET", f"/api/v1/images/{image_id}"))["state"] not in _FINAL:
            time.sleep(_ASK_EVERY_S)
    finally:
        connection.close()
    return dict(image)


def _ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Any:
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status >= http.client.BAD_REQUEST:
        raise http.client.HTTPException(f"{method} {path}: {answer.status} {text[:200]!r}")
    return json.loads(text)
