"""worker.addresses: the address that a browser opens."""

from __future__ import annotations

import pytest

from worker.addresses import is_loopback, page_address
from worker.config import Settings


@pytest.mark.parametrize(
    ("host", "allowed", "address"),
    [
        ("127.0.0.1", "", "http://localhost:8000"),
        ("::1", "", "http://localhost:8000"),
        ("localhost", "reading-room", "http://localhost:8000"),
        ("0.0.0.0", "reading-room, page.example", "http://reading-room:8000"),  # noqa: S104
        ("192.0.2.7", "page.example", "http://page.example:8000"),
    ],
)
def test_browser_opens_a_name(host: str, allowed: str, address: str) -> None:
    assert page_address(Settings(host=host, allowed_hosts=allowed)) == address


def test_browser_opens_the_proxy() -> None:
    assert page_address(Settings(allowed_hosts="page.example, b", proxy_hops=1)) == "https://page.example"
    assert page_address(Settings(proxy_hops=1)) == "http://localhost:8000"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_addresses(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "", "192.168.1.4", "127.evil.example", "example.org"],  # noqa: S104
)
def test_other_addresses_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_own_address_without_a_name_stays() -> None:
    assert page_address(Settings(host="192.0.2.7", port=80)) == "http://192.0.2.7:80"
    assert page_address(Settings(host="2001:db8::7", port=80)) == "http://[2001:db8::7]:80"
