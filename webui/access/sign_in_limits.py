"""Limits on tries to sign in: of an account, of a network address, and of all together.

A try is counted before its passphrase is compared. Whoever goes on guessing waits for longer and longer: five tries
start a wait until a minute after the first of them, ten a quarter of an hour, twenty an hour. So nobody can try many
passphrases, and nobody can lock an account for good.

Nor can an attacker keep a reader away who signs in where they signed in before: such a browser has a signed device
cookie and limits of its own ("Slow Down Online Guessing Attacks with Device Cookies", OWASP).

Every process counts in its memory, and in the broker for all processes. While the broker is away, the memory alone
counts. The library is `limits`, which Flask-Limiter is made of: what counts here depends on the form and the cookie
of a request, and a success takes tries back, for which Flask-Limiter's decorators have no place.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from threading import Lock

from flask import Flask, current_app
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from worker.config import Settings
from worker.outages import BROKER, OUTAGES
from worker.queue.counters import shared_counters

ACCOUNT = (RateLimitItemPerMinute(5), RateLimitItemPerMinute(10, 15), RateLimitItemPerHour(20))
DEVICE = (RateLimitItemPerMinute(10), RateLimitItemPerHour(40))
ADDRESS = (RateLimitItemPerMinute(30), RateLimitItemPerHour(300))
EVERYBODY = (RateLimitItemPerMinute(120),)
# After a failure the broker is left alone for this time, so that it delays one request and not all.
_LEAVE_ALONE_S = 5.0

_ONCE = RateLimitItemPerHour(1)
# Whoever fails on purpose, again and again, must not fill the audit trail.
_RECORDED = RateLimitItemPerMinute(60)
_EXTENSION = "nightread_sign_in_limits"

_Counter = tuple[RateLimitItem, str]
_Step = Callable[[FixedWindowRateLimiter, Sequence[_Counter]], float]


@dataclass(frozen=True)
class Try:
    """A try to sign in.

    Attributes:
        account: the id of the person, or what was typed as the name of an unknown one. Only a keyed hash of it is kept.
        address: the network address of the browser.
        device: the number in the browser's device cookie for this account; None: it has none.
    """

    account: str
    address: str
    device: str | None = None


class SignInLimits:
    """Counts tries to sign in. Its methods never fail."""

    def __init__(self, settings: Settings, key: bytes) -> None:
        """Connect to nothing yet. Accounts are hashed with `key`, the same for all processes that share the broker."""
        self._key = key
        self._lock = Lock()
        self._memory = FixedWindowRateLimiter(MemoryStorage())
        self._broker = FixedWindowRateLimiter(shared_counters(settings))
        self._leave_alone_until = 0.0

    def take(self, tried: Try) -> int:
        """Count a try and return 0; or count nothing and return the seconds after which the next one is allowed."""
        counters = self._counters(tried)
        # What one of the two refuses, the other must not count. Another thread may be faster between the two steps.
        wait = self._longest_wait(_wait_of, counters) or self._longest_wait(_count, counters)
        return math.ceil(wait)

    def is_first(self, what: str) -> bool:
        """Return whether this is the first time within an hour that something is used which counts once."""
        return not self._longest_wait(_count, [(_ONCE, what)])

    def may_record(self) -> bool:
        """Return whether a failure that no other limit counts goes on record."""
        with self._lock:
            return self._memory.hit(_RECORDED, "recorded")

    def give_back(self, tried: Try) -> None:
        """Forget the tries at an account, or from a device, after a success."""
        own = self._counters(tried)[: len(DEVICE if tried.device else ACCOUNT)]
        with self._lock:
            _clear(self._memory, own)
        if not self._is_left_alone():
            try:
                _clear(self._broker, own)
            except StorageError as error:
                self._failed(error)

    def _counters(self, tried: Try) -> list[_Counter]:
        """Return what counts a try, the account's or the device's first: an account's limit protects the others."""
        if tried.device:
            return [(item, f"device/{tried.device}") for item in DEVICE]
        account = hmac.digest(self._key, tried.account.encode("utf-8", "surrogatepass"), hashlib.sha256).hex()
        return [
            *((item, f"account/{account}") for item in ACCOUNT),
            *((item, f"address/{_network(tried.address)}") for item in ADDRESS),
            *((item, "everybody") for item in EVERYBODY),
        ]

    def _longest_wait(self, step: _Step, counters: Sequence[_Counter]) -> float:
        with self._lock:
            wait = step(self._memory, counters)
        if self._is_left_alone():
            return wait
        try:
            wait = max(wait, step(self._broker, counters))
        except StorageError as error:
            self._failed(error)
        else:
            OUTAGES.worked(BROKER)
        return wait

    def _is_left_alone(self) -> bool:
        return time.monotonic() < self._leave_alone_until

    def _failed(self, error: StorageError) -> None:
        self._leave_alone_until = time.monotonic() + _LEAVE_ALONE_S
        OUTAGES.failed(BROKER, error)


def install(app: Flask, settings: Settings) -> None:
    """Give the application its limits. It must have its secret key."""
    key = app.secret_key
    app.extensions[_EXTENSION] = SignInLimits(settings, key if isinstance(key, bytes) else str(key).encode())


def current() -> SignInLimits:
    """Return the limits of the application that handles the current request."""
    limits: SignInLimits = current_app.extensions[_EXTENSION]
    return limits


def _wait_of(limiter: FixedWindowRateLimiter, counters: Sequence[_Counter]) -> float:
    """Return the seconds until every counter allows a try; 0 for now."""
    return _seconds_until_free(limiter, [counter for counter in counters if not limiter.test(*counter)])


def _count(limiter: FixedWindowRateLimiter, counters: Sequence[_Counter]) -> float:
    """Count a try, and return the seconds to wait if it is one too many."""
    return _seconds_until_free(limiter, [counter for counter in counters if not limiter.hit(*counter)])


def _seconds_until_free(limiter: FixedWindowRateLimiter, full: Sequence[_Counter]) -> float:
    resets = (limiter.get_window_stats(*counter).reset_time for counter in full)
    return max((max(1.0, reset - time.time()) for reset in resets), default=0.0)


def _network(address: str) -> str:
    """Return the address; of IPv6 the /64 network, whose addresses one machine may use in turn."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))


def _clear(limiter: FixedWindowRateLimiter, counters: Sequence[_Counter]) -> None:
    for counter in counters:
        limiter.clear(*counter)
