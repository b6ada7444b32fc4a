"""Logging as a person reads it, or as JSON for a machine; every line about a job carries its id."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from shared.settings import Settings

JSON = "json"


def configure_logging(settings: Settings) -> None:
    """Send everything that is logged, by us and by the libraries, to standard error in the format of the settings."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.log_format == JSON:
        last: list[structlog.typing.Processor] = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(sort_keys=True),
        ]
    else:
        last = [structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0, pad_level=False)]
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)


@contextmanager
def about_job(job_id: str, **more: object) -> Iterator[None]:
    """What this thread logs in the block carries the job's id (and `more`)."""
    with structlog.contextvars.bound_contextvars(job_id=job_id, **more):
        yield
