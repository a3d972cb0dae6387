"""The colours of the pages, as a person chose them for a browser."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

LINK = re.compile(r'href="/static/light.css" media="([^"]*)"')


def choose(client: FlaskClient, theme: str) -> int:
    return client.post("/account/theme", data={"theme": theme}).status_code


def light_for(client: FlaskClient, address: str) -> str:
    """Return for which media a page is light."""
    (media,) = LINK.findall(client.get(address).text)
    return str(media)


def test_pages_are_dark_until_somebody_chooses(client: FlaskClient) -> None:
    for address in ("/", "/review", "/account", "/review/1"):
        assert light_for(client, address) == "print"
        assert '<meta name="color-scheme" content="dark">' in client.get(address).text


@pytest.mark.parametrize(
    ("theme", "scheme", "media"),
    [("light", "light", "all"), ("system", "light dark", "print, (prefers-color-scheme: light)")],
)
def test_chosen_colours_hold_on_every_page_but_the_viewer(
    client: FlaskClient, theme: str, scheme: str, media: str
) -> None:
    assert choose(client, theme) == 303
    for address in ("/", "/review", "/account", "/nothing-here"):
        assert light_for(client, address) == media
        assert f'<meta name="color-scheme" content="{scheme}">' in client.get(address).text
    assert light_for(client, "/review/1") == "print"
    client.post("/sign-out")
    assert light_for(client, "/sign-in") == media
    client.delete_cookie("nightread_theme")
    assert light_for(client, "/sign-in") == "print"


def test_unknown_theme_is_refused(client: FlaskClient) -> None:
    assert choose(client, "pink") == 400
    client.set_cookie("nightread_theme", "pink")
    assert client.get("/review").status_code == 200
    assert light_for(client, "/review") == "print"
