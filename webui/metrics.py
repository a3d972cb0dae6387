"""The figures of the ledger as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST
_STATES = ("pending", "leased", "scored", "rejected", "quarantined")
_SINGLE = {
    "received": "Files that arrived.",
    "duplicates": "Files whose picture was known.",
    "flagged": "Images whose verdict asks for a reader.",
    "unread": "Images that wait for a reader.",
    "images_per_s": "Images scored a second, of late.",
}


def exposition(status: Mapping[str, Any] | None, free_bytes: int) -> bytes:
    """Prometheus' text format (prometheus.io/docs/instrumenting/exposition_formats).

    Args:
        status: the document of `nightread status --json`, None while the database is out of reach.
        free_bytes: of the fullest disk that is written to.
    """
    registry = CollectorRegistry()
    registry.register(_Figures(status, free_bytes))
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, status: Mapping[str, Any] | None, free_bytes: int) -> None:
        self._status, self._free_bytes = status, free_bytes

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every figure there is."""
        yield _gauge("database_up", "1 while the database can be read.", float(self._status is not None))
        yield _gauge("disk_free_bytes", "Of the fullest disk that is written to.", self._free_bytes)
        if self._status is not None:
            yield from _books(self._status)
            yield from _processes(self._status["processes"])
            if self._status["canary"] is not None:
                well = self._status["canary"]["ok"] is not False
                yield _gauge(
                    "canary_ok", "1 unless the latest canary did not come through as it should.", well
                )


def _books(status: Mapping[str, Any]) -> Iterator[GaugeMetricFamily]:
    yield _gauge("books_balanced", "1 while every file has exactly one outcome.", status["balanced"])
    images = GaugeMetricFamily("nightread_images", "Images by state.", labels=["state"])
    for state in _STATES:
        images.add_metric([state], status[state])
    yield images
    for name, meaning in _SINGLE.items():
        yield _gauge(name.replace("_per_s", "_per_second"), meaning, status[name])
    waiting = status["oldest_waiting_s"] or 0
    yield _gauge("troubles", "Things that a person should look into.", len(status["troubles"]))
    yield _gauge("oldest_waiting_seconds", "Since the oldest pending image arrived; 0: none waits.", waiting)


def _processes(processes: list[Mapping[str, Any]]) -> Iterator[GaugeMetricFamily]:
    labels = ["name", "host"]
    age = GaugeMetricFamily(
        "nightread_heartbeat_age_seconds", "Since a process's last sign of life.", labels=labels
    )
    well = GaugeMetricFamily(
        "nightread_process_ok", "1 while a process lives and its work waits for nothing.", labels=labels
    )
    for process in processes:
        whose = [process["name"], process["host"]]
        age.add_metric(whose, process["heartbeat_age_s"])
        well.add_metric(whose, process["ok"])
    yield from (age, well)


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"nightread_{name}", meaning, value=value)
