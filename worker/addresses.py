"""Addresses: which of them only this machine can reach, and the one under which people open the page."""

from __future__ import annotations

from ipaddress import ip_address

from worker.config import Settings


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def page_address(settings: Settings) -> str:
    """Return the address that a browser opens, without a slash at its end.

    It is `localhost` instead of a number where only this machine can reach it: passkeys need a name.
    """
    names = settings.host_names
    if settings.proxy_hops and names:
        return f"https://{names[0]}"
    name = names[0] if names and not is_loopback(settings.host) else _own_name(settings.host)
    return f"http://[{name}]:{settings.port}" if ":" in name else f"http://{name}:{settings.port}"


def _own_name(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        return host
    return "localhost" if address.is_loopback or address.is_unspecified else host
