"""Logging as a person reads it, or as JSON for a machine; every line about a job carries its id."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from shared.settings import Settings

JSON = "json"
# control characters, line separators, marks that reverse the direction of writing, halves of surrogate pairs
_NOT_PRINTED = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")


def configure_logging(settings: Settings) -> None:
    """Send everything that is logged, by us and by the libraries, to standard error in the format of the settings."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # a plain trace: the renderer's own choice would also print the variables, and keys with them
    last: list[structlog.typing.Processor] = [structlog.processors.format_exc_info]
    if settings.log_format == JSON:
        last += [structlog.processors.JSONRenderer(sort_keys=True)]
    else:
        last += [
            _on_one_line,
            structlog.dev.ConsoleRenderer(
                colors=False, pad_event_to=0, pad_level=False, exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    # Python's own warnings too, which would else be lines of their own form
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)


def _on_one_line(_logger: object, _method: str, entry: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escape what would break or disguise a line: nobody forges one by what they send. A trace stands indented."""
    for name, value in entry.items():
        if not isinstance(value, str):
            continue
        if name in ("exception", "stack"):
            lines = (_NOT_PRINTED.sub(_escaped, line) for line in value.split("\n"))
            entry[name] = "\n".join(f"    {line}" for line in lines)
        else:
            entry[name] = _NOT_PRINTED.sub(_escaped, value)
    return entry


def _escaped(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]


@contextmanager
def about_job(job_id: str, **more: object) -> Iterator[None]:
    """What this thread logs in the block carries the job's id (and `more`)."""
    with structlog.contextvars.bound_contextvars(job_id=job_id, **more):
        yield
