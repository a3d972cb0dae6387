"""The colours of the pages, as a person chose them for a browser: a cookie, so that no page flashes in other colours."""

from __future__ import annotations

from flask import Response

from webui import cookies

# The choices, and the words on their buttons. The first one holds until a person chooses.
THEMES = {"dark": "Dark", "light": "Light", "system": "As the system"}
_DEFAULT = "dark"
_COOKIE = "nightread_theme"
# The longest time for which browsers keep a cookie (RFC 6265bis, section 5.5).
_MAX_AGE_S = 400 * 24 * 3600


def chosen() -> str:
    """Return the theme of this request's browser: a key of `THEMES`."""
    value = cookies.read(_COOKIE)
    return value if value in THEMES else _DEFAULT


def choose(response: Response, theme: str) -> None:
    """Let the browser keep this theme. Raises ValueError if there is no such theme."""
    if theme not in THEMES:
        raise ValueError(f"`theme` must be one of {', '.join(THEMES)}")
    cookies.write(response, _COOKIE, theme, max_age_s=_MAX_AGE_S)
