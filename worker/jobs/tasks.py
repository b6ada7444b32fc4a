"""The Celery task: a message in, a task carried out."""

import time
from typing import Any

from celery import Celery, Task
from celery.exceptions import Reject
from celery.worker.request import Request
from kombu.transport import virtual

from shared.jobs.signals import TaskBusy, WorkerStopping
from shared.queue import RUN_TASK
from worker.jobs.deliveries import Deliveries
from worker.jobs.prefetch import Prefetch
from worker.jobs.runner import TaskRunner

# so that a message that must wait for another attempt does not race through the queue
_BUSY_PAUSE_S = 1.0


def register_tasks(app: Celery, runner: TaskRunner, deliveries: Deliveries, prefetch: Prefetch) -> None:
    """Make `app` carry out tasks with `runner`, holding each delivery while it is worked on."""

    class Delivery(Request):  # type: ignore[misc]  # Celery ships no types
        """A delivery that is acknowledged only if it is still this worker's."""

        def acknowledge(self) -> None:
            if not deliveries.was_lost(str(self._message.delivery_tag)):
                super().acknowledge()
                return
            # only this process forgets it: in Redis it is another's
            virtual.QoS.ack(self._message.channel.qos, self._message.delivery_tag)
            self.acknowledged = True

    class TaskMessage(Task):  # type: ignore[misc]
        Request = Delivery

    @app.task(name=RUN_TASK, bind=True, base=TaskMessage)  # type: ignore[untyped-decorator]
    def run_task(task: Any, variant: str, **_of_newer_versions: Any) -> None:
        tag = task.request.delivery_info.get("delivery_tag") or task.request.properties["delivery_tag"]
        with deliveries.held(tag), prefetch.working():
            try:
                if not runner.run_next(task.request.id, variant):
                    deliveries.give_up(tag)
            except TaskBusy:
                time.sleep(_BUSY_PAUSE_S)
                raise Reject("another worker has the task or its model", requeue=True) from None
            except WorkerStopping:
                raise Reject("the worker is stopping", requeue=True) from None
