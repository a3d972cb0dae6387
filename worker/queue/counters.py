"""Counters that all processes share, in the broker: how often somebody tried to sign in.

They are no part of what Nightread must not lose. A broker that is away costs a caller at most `_TIMEOUT_S` seconds.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from limits.storage import RedisStorage
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker.config import Settings

_TIMEOUT_S = 0.5
_PREFIX = "nightread-limits"


def shared_counters(settings: Settings) -> RedisStorage:
    """Return the counters in the broker, which is not connected yet. They raise `limits.errors.StorageError`."""
    return RedisStorage(
        storage_url(settings.broker),
        key_prefix=_PREFIX,
        wrap_exceptions=True,
        socket_timeout=_TIMEOUT_S,
        socket_connect_timeout=_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),  # type: ignore[arg-type]  # an argument of redis.Redis
    )


def storage_url(broker: str) -> str:
    """Return the URL of a broker as redis-py reads it: Celery has other names for sockets, their database, and TLS."""
    address, mark, query = broker.partition("?")
    options = [_option(name, value) for name, value in parse_qsl(query)]
    return f"{address.replace('redis+socket:', 'redis+unix:', 1)}{mark}{urlencode(options)}"


def _option(name: str, value: str) -> tuple[str, str]:
    if name == "virtual_host":
        return "db", value.removeprefix("/")
    return name, value.lower().removeprefix("cert_") if name == "ssl_cert_reqs" else value
