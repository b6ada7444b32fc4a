"""The Celery task: a call in, a row carried out."""

import time
from typing import Any

from celery import Celery
from celery.exceptions import Reject

from shared.errors import RowBusy, WorkerStopping
from shared.queue import RUN_ROW
from worker.deliveries import Deliveries
from worker.prefetch import Prefetch
from worker.rows import RowRunner

# so that a message that must wait for another attempt does not race through the queue
_BUSY_PAUSE_S = 1.0


def register_tasks(app: Celery, runner: RowRunner, deliveries: Deliveries, prefetch: Prefetch) -> None:
    """Make `app` carry out rows with `runner`, holding each delivery while it is worked on."""

    @app.task(name=RUN_ROW, bind=True)  # type: ignore[untyped-decorator]  # Celery ships no types
    def run_row(task: Any, variant: str) -> None:
        tag = task.request.delivery_info.get("delivery_tag") or task.request.properties["delivery_tag"]
        with deliveries.held(tag), prefetch.working():
            try:
                runner.run_next(task.request.id, variant)
            except RowBusy:
                time.sleep(_BUSY_PAUSE_S)
                raise Reject("another worker has the row or its model", requeue=True) from None
            except WorkerStopping:
                raise Reject("the worker is stopping", requeue=True) from None
