"""The Celery task: a message in, a row carried out."""

from typing import Any

from celery import Celery
from celery.exceptions import Reject

from shared.errors import WorkerStopping
from shared.queue import RUN_ROW, RowMessage
from worker.deliveries import Deliveries
from worker.rows import RowRunner


def register_tasks(app: Celery, runner: RowRunner, deliveries: Deliveries) -> None:
    """Make `app` carry out rows with `runner`, holding each delivery while it is worked on."""

    @app.task(name=RUN_ROW, bind=True)  # type: ignore[untyped-decorator]  # Celery ships no types
    def run_row(task: Any, message: str) -> None:
        with deliveries.held(task.request.delivery_info.get("delivery_tag") or task.request.properties["delivery_tag"]):
            try:
                runner.run(RowMessage.from_json(message))
            except WorkerStopping:
                raise Reject("the worker is stopping", requeue=True) from None
