"""webui.request_security: which hosts and origins are answered."""

from __future__ import annotations

import pytest

from webui.parameters import local_path
from webui.request_security import host_name, host_names, same_site
from worker.config import Settings


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("127.0.0.1:8000", "127.0.0.1"),
        ("LocalHost", "localhost"),
        ("[::1]:8000", "::1"),
        ("evil.example", "evil.example"),
        ("127.0.0.1.evil.example:8000", "127.0.0.1.evil.example"),
    ],
)
def test_host_name_is_read_from_the_header(host: str, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize("host", ["localhost:port", "localhost/x", "localhost?x", "localhost#", ""])
def test_malformed_host_is_not_one_of_ours(host: str) -> None:
    assert host_name(host) not in host_names(Settings())


def test_settings_add_host_names() -> None:
    names = host_names(Settings(allowed_hosts="Reading-Room.example, pacs", host="127.0.0.2"))
    assert names == {"127.0.0.1", "127.0.0.2", "localhost", "::1", "reading-room.example", "pacs"}


@pytest.mark.parametrize(
    ("origin", "fetch_site", "answered"),
    [
        (None, None, True),
        ("http://127.0.0.1:8000", "same-origin", True),
        ("http://127.0.0.1:8000", None, True),
        (None, "none", True),
        ("http://evil.example", None, False),
        ("http://127.0.0.1:9000", None, False),
        ("null", None, False),
        (None, "cross-site", False),
        ("http://127.0.0.1:8000", "cross-site", False),
        ("http://127.0.0.1:8000", "same-site", False),
    ],
)
def test_only_own_pages_and_programs_may_change_data(
    origin: str | None, fetch_site: str | None, answered: bool
) -> None:
    assert same_site("http://127.0.0.1:8000", origin, fetch_site, has_cookie=False) is answered
    with_cookie = answered and (origin or fetch_site) is not None
    assert same_site("http://127.0.0.1:8000", origin, fetch_site, has_cookie=True) is with_cookie


@pytest.mark.parametrize("target", ["/review/3?run=a%26b", "/upload?receipts=1-3"])
def test_local_path_is_kept(target: str) -> None:
    assert local_path(target) == target


@pytest.mark.parametrize(
    "target",
    [
        "",
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "review",
        "/\t/evil.example",
    ],
)
def test_path_of_another_site_becomes_the_first_page(target: str) -> None:
    assert local_path(target) == "/"
