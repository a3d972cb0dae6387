"""The metrics of the ledger and of the processes for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from worker.ledger.receiver_tallies import OF_OBJECTS, Kind
from worker.ledger.states import ImageState
from worker.monitor.figures import Figure

CONTENT_TYPE = CONTENT_TYPE_LATEST
_GAUGES = {
    "received": "Files that arrived, one receipt each.",
    "duplicates": "Files whose bytes arrived before.",
    "flagged": "Images that are flagged or uncertain.",
    "outside_population": "Scored images of patients outside the model's population.",
    "unknown_age": "Scored images of patients of unknown age.",
    "distance_known": "Scored images of which the model says how far they are from its training data.",
    "far_from_training_data": "Scored images that are far from the training data of the model.",
    "unread": "Flagged and uncertain images that no reader has read.",
    "images_per_s": "Images scored per second over the last minute.",
}


def exposition(status: Mapping[str, Any] | None, free_bytes: int) -> bytes:
    """Return all metrics in Prometheus' text format (prometheus.io/docs/instrumenting/exposition_formats).

    Args:
        status: the document of `nightread status --json`; None while the database cannot be reached.
        free_bytes: free bytes on the fullest disk in use.
    """
    registry = CollectorRegistry()
    registry.register(_StatusCollector(status, free_bytes))
    return generate_latest(registry)


class _StatusCollector(Collector):
    def __init__(self, status: Mapping[str, Any] | None, free_bytes: int) -> None:
        self._status, self._free_bytes = status, free_bytes

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        yield _gauge("database_up", "1 if the database can be read, else 0.", float(self._status is not None))
        yield _gauge("disk_free_bytes", "Free bytes on the fullest disk in use.", self._free_bytes)
        if self._status is not None:
            yield from _counts(self._status)
            yield from _processes(self._status["processes"])
            yield from _receiver(self._status["receiver"])
            yield _monitor(self._status["monitor"])
            if self._status["canary"] is not None:
                ok = self._status["canary"]["ok"] is not False
                yield _gauge("canary_ok", "0 if the latest canary failed, else 1.", ok)


def _counts(status: Mapping[str, Any]) -> Iterator[GaugeMetricFamily]:
    yield _gauge("balanced", "1 if all files are accounted for, else 0.", status["balanced"])
    images = GaugeMetricFamily("nightread_images", "Images in each state.", labels=["state"])
    for state in ImageState:
        images.add_metric([state.value], status[state.value])
    yield images
    for name, help_text in _GAUGES.items():
        yield _gauge(name.replace("_per_s", "_per_second"), help_text, status[name])
    yield _gauge("troubles", "Problems that a person should look into.", len(status["troubles"]))
    yield _gauge(
        "oldest_waiting_seconds",
        "Seconds since the oldest pending image arrived; 0 if no image is pending.",
        status["oldest_waiting_s"] or 0,
    )


def _processes(processes: list[Mapping[str, Any]]) -> Iterator[GaugeMetricFamily]:
    labels = ["name", "host"]
    age = GaugeMetricFamily(
        "nightread_heartbeat_age_seconds", "Seconds since the last heartbeat of a process.", labels=labels
    )
    ok = GaugeMetricFamily(
        "nightread_process_ok",
        "1 if the process sends heartbeats and reports no problem, else 0.",
        labels=labels,
    )
    for process in processes:
        values = [process["name"], process["host"]]
        age.add_metric(values, process["heartbeat_age_s"])
        ok.add_metric(values, process["ok"])
    yield from (age, ok)


def _receiver(totals: Mapping[str, int]) -> Iterator[CounterMetricFamily]:
    objects = CounterMetricFamily(
        "nightread_dicom_objects", "DICOM objects that arrived, by what became of them.", labels=["outcome"]
    )
    ended = CounterMetricFamily(
        "nightread_dicom_connections_refused",
        "DICOM connections that the receiver turned away or ended, by reason.",
        labels=["reason"],
    )
    for kind in Kind:
        (objects if kind in OF_OBJECTS else ended).add_metric([kind.value], totals[kind.value])
    yield from (objects, ended)


def _monitor(changes: Sequence[Mapping[str, Any]]) -> GaugeMetricFamily:
    """Return how many changes need attention. Groups are no labels: they come and go, and readers are among them."""
    alerts = GaugeMetricFamily(
        "nightread_monitor_alerts",
        "Changes of the model's figures that need attention, by figure.",
        labels=["figure"],
    )
    for figure in Figure:
        alerts.add_metric([figure.value], sum(change["figure"] == figure for change in changes))
    return alerts


def _gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"nightread_{name}", help_text, value=value)
