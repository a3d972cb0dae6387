"""Upload one file over HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from tests.conftest import HANG_S

_BOUNDARY = "a-boundary-of-the-test"


def upload(url: str, name: str, data: bytes, signed_in: dict[str, str]) -> tuple[int, Any]:
    """Upload one file to the API, with the headers of a token.

    Return the HTTP status and the file's result, or the error document.
    """
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    body = head.encode() + data + f"\r\n--{_BOUNDARY}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}", **signed_in}
    request = urllib.request.Request(f"{url}/api/v1/images", body, headers)  # noqa: S310 - our own address
    try:
        with urllib.request.urlopen(request, timeout=HANG_S) as response:  # noqa: S310
            return response.status, json.load(response)[0]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
