"""HTTP requests to the provider, limited in time, in size and in number. No redirect is followed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import requests
import structlog
import urllib3
from requests.adapters import HTTPAdapter

from webui.access.oidc.faults import Fault, SignInFailed
from webui.json_depth import has_too_many_parts

log = structlog.get_logger(__name__)

_CONNECT_S = 3.0
# The longest silence of the provider, and the time for a whole body.
_SILENCE_S = 5.0
_WHOLE_S = 10.0
LARGEST_BODY = 512 * 1024
# The web process has eight threads. The others go on with their pages while the provider is slow.
_AT_ONCE = 3
_WAIT_FOR_A_TURN_S = 2.0
_PIECE = 16 * 1024
_FIRST_SERVER_ERROR = 500


class Unusable(requests.RequestException):
    """The provider's response is a redirect, too large, too deep, or too slow."""


class LimitedAdapter(HTTPAdapter):
    """Sends the requests to the provider."""

    def __init__(self, ca_file: str) -> None:
        """Begin with no request under way. `ca_file` holds certificates to trust; empty: the usual ones."""
        super().__init__(max_retries=0)
        self._ca_file = ca_file
        self._turns = threading.BoundedSemaphore(_AT_ONCE)

    def send(self, request: requests.PreparedRequest, *_: Any, **options: Any) -> requests.Response:
        """Return a response whose body was read to its end. Raises requests.RequestException."""
        if not self._turns.acquire(timeout=_WAIT_FOR_A_TURN_S):
            raise requests.ConnectTimeout("other requests to the provider are not answered yet")
        try:
            options |= {"stream": True, "timeout": (_CONNECT_S, _SILENCE_S)}
            if self._ca_file:
                # Set here: an environment variable of requests would override a session's.
                options["verify"] = self._ca_file
            response = super().send(request, **options)
            body = _body(response)
        finally:
            self._turns.release()
        if has_too_many_parts(body):
            raise Unusable("the provider's answer has too many parts")
        response.raw = BytesIO(body)
        return response


def limit(session: requests.Session, adapter: LimitedAdapter) -> None:
    """Give a session the limits of this module."""
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.headers["Accept-Encoding"] = "identity"


@contextmanager
def faults() -> Iterator[None]:
    """Raise SignInFailed for every way in which a request to the provider can fail."""
    try:
        yield
    except (requests.exceptions.SSLError, Unusable, requests.exceptions.InvalidURL) as error:
        raise _failed(Fault.ANSWER, error) from None
    except (requests.ConnectionError, requests.Timeout) as error:
        raise _failed(Fault.AWAY, error) from None
    except requests.HTTPError as error:
        status = 0 if error.response is None else error.response.status_code
        raise _failed(Fault.AWAY if status >= _FIRST_SERVER_ERROR else Fault.ANSWER, error) from None
    except (OSError, ValueError) as error:
        raise _failed(Fault.ANSWER, error) from None


def _failed(fault: Fault, error: Exception) -> SignInFailed:
    # Only the kind: the message of a library may hold an address with a code.
    log.warning("a request to the sign-in provider failed", fault=fault.code, error=type(error).__name__)
    return SignInFailed(fault)


def _body(response: requests.Response) -> bytes:
    """Read the body piece by piece, as it arrives. It is never unpacked: we ask for the encoding `identity`."""
    try:
        if response.is_redirect:
            raise Unusable("the provider answered with a redirect")
        return b"".join(_pieces(response.raw))
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(type(error).__name__) from None
    finally:
        response.raw.close()


def _pieces(raw: Any) -> Iterator[bytes]:
    ends, size = time.monotonic() + _WHOLE_S, 0
    while piece := raw.read1(_PIECE, decode_content=False):
        size += len(piece)
        if size > LARGEST_BODY:
            raise Unusable("the provider's answer is too large")
        if time.monotonic() > ends:
            raise requests.Timeout("the provider's answer takes too long")
        yield piece
