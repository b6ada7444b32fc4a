"""The worker's process: what it says and refuses before it serves."""

import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from shared.settings import Settings
from worker import __main__ as program
from worker.process import worker as app


@pytest.fixture
def started(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The environment of a worker's process, and logging put back afterwards."""
    root = logging.getLogger()
    level = root.level
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "unused")
    yield monkeypatch
    logging.captureWarnings(False)
    root.setLevel(level)


def test_what_is_said_while_the_worker_is_built_has_the_format_too(
    started: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Given LOG_FORMAT=json, when a worker logs while it is put together, then that is a line of JSON."""

    class Talkative:
        def __init__(self, _settings: Settings) -> None:
            logging.getLogger("x").warning("early")

        def run(self) -> None:
            """Ends at once."""

    started.setenv("LOG_FORMAT", "json")
    started.setattr(app, "Worker", Talkative)
    program.main()
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["early"]


def test_a_redis_that_may_lose_jobs_is_warned_of(
    started: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], redis_client: Any
) -> None:
    """Given a Redis that throws keys away, when a worker starts, then its log names the setting to change."""

    class Patient:
        def __init__(self, _settings: Settings) -> None:
            """Nothing is built."""

        def run(self) -> None:
            for thread in threading.enumerate():
                if thread.name == "risk of redis":
                    thread.join(30)

    started.setattr(app, "Worker", Patient)
    redis_client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        program.main()
    finally:
        redis_client.config_set("maxmemory-policy", "noeviction")
    assert "Set maxmemory-policy noeviction." in capsys.readouterr().err
