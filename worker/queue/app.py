"""The Celery application: JSON messages, two lanes, no results, no acknowledgements.

The broker deletes a message when a worker fetches it. If the worker dies, its lease in the ledger ends
sooner than the broker would notice. With acknowledgements, a lost connection could lose one of them: the
worker would then believe that it is full and fetch nothing more.
"""

from __future__ import annotations

from celery import Celery
from kombu import Queue

from worker.config import Settings
from worker.ledger.states import Lane

SCREEN_TASK = "nightread.screen"
RECHECK_TASK = "nightread.recheck"
SHADOW_TASK = "nightread.shadow"
# A publisher gives up on a broker that does not answer after this time; the sweeper tries again.
_CONNECT_TIMEOUT_S = 2.0
# Longer than the one-second blocking read of a worker; otherwise each idle second would look like an error.
_ANSWER_TIMEOUT_S = 5.0
# A worker that waits for messages notices a broken connection within three of these periods.
_HEALTH_CHECK_S = 5
_START_TIMEOUT_S = 60.0


def make_app(settings: Settings) -> Celery:
    """Make the Celery application. Nothing is connected yet."""
    app = Celery("nightread", broker=settings.broker, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_queues=[Queue(lane.value, routing_key=lane.value, no_ack=True) for lane in Lane],
        task_default_queue=Lane.OVERNIGHT.value,
        # A scoring process that hangs is killed when its lease ends, and its images are pending again. One that is only slow
        # hands images back long before.
        task_time_limit=settings.lease_s,
        # A scoring process that has grown is replaced, so that no image is rejected because of another's memory.
        worker_max_memory_per_child=settings.worker_memory_bytes * 3 // 4 // 1024,
        # A new scoring process loads the model first. On a busy machine this takes longer than Celery's 4 s, after
        # which it would be killed, again and again.
        worker_proc_alive_timeout=_START_TIMEOUT_S,
        # Messages wait in the broker, where the urgent lane goes first, and not in a busy worker.
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        # Remote control is not used, and would be one more connection that can fail.
        worker_enable_remote_control=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # The worker waits for a broker that is full or read-only, as for one that is out of reach.
        broker_channel_error_retry=True,
        broker_transport_options={
            # The worker fetches from the lanes in the order in which it names them: urgent first.
            "queue_order_strategy": "priority",
            "socket_connect_timeout": _CONNECT_TIMEOUT_S,
            "socket_timeout": _ANSWER_TIMEOUT_S,
            "health_check_interval": _HEALTH_CHECK_S,
            "max_retries": 0,
        },
    )
    return app
