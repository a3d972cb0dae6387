"""The Celery application: JSON only, two lanes, no results kept, nothing acknowledged.

A message is gone once it is fetched: whose worker died is told by the lease in the ledger, sooner than
by the broker. An acknowledgement that got lost with the connection, though, would leave a worker
waiting for room that it has.
"""

from __future__ import annotations

from celery import Celery
from kombu import Queue

from worker.config import Settings
from worker.ledger.states import Lane

SCREEN_TASK = "nightread.screen"
# A publisher waits no longer than this for a broker that does not answer; the sweeper tries again.
_CONNECT_TIMEOUT_S = 2.0
# Longer than a worker's blocking read of one second, or every idle second would look like a fault.
_ANSWER_TIMEOUT_S = 5.0
# A worker that waits for messages notices within three of these that its connection was cut.
_HEALTH_CHECK_S = 5


def make_app(settings: Settings) -> Celery:
    """The application for these settings. Connects to nothing yet."""
    app = Celery("nightread", broker=settings.broker, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_queues=[Queue(lane.value, routing_key=lane.value, no_ack=True) for lane in Lane],
        task_default_queue=Lane.OVERNIGHT.value,
        # A child that hangs is killed when its lease ends, and its images go back.
        task_time_limit=settings.lease_s,
        # Nor does one that has grown go on: no image may be refused for what another left behind.
        worker_max_memory_per_child=settings.worker_memory_bytes * 3 // 4 // 1024,
        # A message waits in the broker, where its lane counts, not in a worker that is busy.
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        # Nobody asks a worker anything by the broker; listening for it is one more connection to lose.
        worker_enable_remote_control=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A broker that answers but refuses, being full or read-only, is waited for like one that is away.
        broker_channel_error_retry=True,
        broker_transport_options={
            # The lanes in the order in which the worker names them: urgent before overnight.
            "queue_order_strategy": "priority",
            "socket_connect_timeout": _CONNECT_TIMEOUT_S,
            "socket_timeout": _ANSWER_TIMEOUT_S,
            "health_check_interval": _HEALTH_CHECK_S,
            "max_retries": 0,
        },
    )
    return app
