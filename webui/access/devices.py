"""Device cookies: a browser in which a person has signed in has limits of its own for that person.

The signed cookie holds pairs of a person's id and a random number, the newest last. It lets nobody in. See
`webui.access.sign_in_limits`, and "Slow Down Online Guessing Attacks with Device Cookies" (OWASP).
"""

from __future__ import annotations

import secrets
from datetime import timedelta

from flask import Response
from itsdangerous import BadData

from webui import cookies

COOKIE = "nightread_device"
_KEPT_FOR = timedelta(days=365)
# A workstation of a reading room has many readers.
_MOST_PEOPLE = 30
_NUMBER_BYTES = 16


def device_of(user_id: int) -> str | None:
    """Return the number of this browser for a person; None if they have not signed in here."""
    return _devices().get(user_id)


def remember(response: Response, user_id: int) -> None:
    """Give the browser a new number for a person who has signed in."""
    others = [pair for pair in _devices().items() if pair[0] != user_id]
    pairs = [*others, (user_id, secrets.token_urlsafe(_NUMBER_BYTES))][-_MOST_PEOPLE:]
    cookies.write(
        response,
        COOKIE,
        str(cookies.signer("device").dumps(pairs)),
        max_age_s=round(_KEPT_FOR.total_seconds()),
    )


def _devices() -> dict[int, str]:
    try:
        pairs = cookies.signer("device").loads(cookies.read(COOKIE) or "")
        return {int(user_id): str(number) for user_id, number in pairs}
    except (BadData, ValueError, TypeError):
        return {}
