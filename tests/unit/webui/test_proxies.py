"""webui.proxies: whose word about a client's address and scheme counts."""

from __future__ import annotations

from typing import Any

import pytest

from webui.proxies import Proxies
from worker.config import Settings

PROXY = "10.0.0.5"


def seen(hops: int, addresses: str, peer: str, **headers: str) -> dict[str, Any]:
    """Return what the application sees of a request."""
    environ: dict[str, Any] = {"REMOTE_ADDR": peer, "wsgi.url_scheme": "http"}
    environ |= {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    Proxies(Settings(proxy_hops=hops, proxy_addresses=addresses)).apply(environ)
    return environ


@pytest.mark.parametrize(
    ("hops", "addresses", "peer", "forwarded_for", "client"),
    [
        (0, PROXY, PROXY, "1.2.3.4", PROXY),
        (1, PROXY, PROXY, "1.2.3.4", "1.2.3.4"),
        (1, PROXY, PROXY, "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        (2, PROXY, PROXY, "6.6.6.6, 1.2.3.4, 10.0.0.9", "1.2.3.4"),
        (2, PROXY, PROXY, "1.2.3.4", PROXY),
        (1, PROXY, PROXY, "2001:db8::1", "2001:db8::1"),
        (1, PROXY, PROXY, "evil", PROXY),
        (1, PROXY, PROXY, "1.2.3.4:80", PROXY),
        (1, PROXY, PROXY, "", PROXY),
        (1, PROXY, "10.0.0.6", "1.2.3.4", "10.0.0.6"),
        (1, "10.0.0.0/24, 192.168.0.1", "10.0.0.77", "1.2.3.4", "1.2.3.4"),
        (1, "127.0.0.1, ::1", "::1", "1.2.3.4", "1.2.3.4"),
    ],
)
def test_client_is_the_address_that_a_trusted_proxy_vouches_for(
    hops: int, addresses: str, peer: str, forwarded_for: str, client: str
) -> None:
    assert seen(hops, addresses, peer, x_forwarded_for=forwarded_for)["REMOTE_ADDR"] == client
    proxies = Proxies(Settings(proxy_hops=hops, proxy_addresses=addresses))
    assert proxies.client_of(peer, forwarded_for) == client


@pytest.mark.parametrize(
    ("peer", "said", "scheme"),
    [
        (PROXY, "https", "https"),
        (PROXY, "http, https", "https"),
        (PROXY, "https, http", "http"),
        (PROXY, "javascript", "http"),
        ("10.0.0.6", "https", "http"),
    ],
)
def test_scheme_is_what_the_nearest_proxy_says(peer: str, said: str, scheme: str) -> None:
    assert seen(1, PROXY, peer, x_forwarded_proto=said)["wsgi.url_scheme"] == scheme


@pytest.mark.parametrize("peer", [PROXY, "10.0.0.6"])
def test_application_sees_no_forwarded_header(peer: str) -> None:
    names = (
        "forwarded",
        *(f"x_forwarded_{part}" for part in ("for", "host", "port", "prefix", "proto", "by")),
    )
    environ = seen(1, PROXY, peer, **dict.fromkeys(names, "evil.example"))
    assert [name for name in environ if "FORWARDED" in name] == []
