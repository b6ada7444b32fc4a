"""Fixtures that run the real thing; see `tests/e2e/service.py` for what they hand out."""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.e2e.service import Service

ServiceFactory = Callable[..., Service]
CALLBACK_SECRET = "of the tests"
_made_for_test = pytest.StashKey[list[Service]]()


@pytest.fixture(scope="session")
def service(redis_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One Redis, one API, one worker for the whole session, ready to work. Don't stop what belongs to it."""
    folder = tmp_path_factory.mktemp("service")
    told = {"CALLBACK_HOSTS": "127.0.0.1", "CALLBACK_SECRET": CALLBACK_SECRET}
    service = Service(folder, redis_server, LOG_FORMAT="json", **told)
    try:
        _start(service, apis=1, workers=1)
        yield service
    finally:
        service.close()


@pytest.fixture
def make_service(
    request: pytest.FixtureRequest, redis_server: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceFactory]:
    """A constellation of one's own: `make_service(apis=2, workers=2, RESULT_TTL_S="2")`; ended after the test."""
    made = request.node.stash.setdefault(_made_for_test, [])

    def make(*, apis: int = 1, workers: int = 1, **environment: str) -> Service:
        service = Service(tmp_path_factory.mktemp("constellation"), redis_server, **environment)
        made.append(service)
        _start(service, apis=apis, workers=workers)
        return service

    try:
        yield make
    finally:
        for service in made:
            service.close()


def _start(service: Service, *, apis: int, workers: int) -> None:
    try:
        service.start_redis()
        for _ in range(workers):
            service.start_worker()
        for _ in range(apis):
            service.start_api()
        if apis and workers:
            service.wait_ready()
    except AssertionError as wrong:
        logs = "\n".join(f"--- log of {name}\n{text}" for name, text in service.logs().items())
        raise AssertionError(f"{wrong}\n{logs}") from None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """When a test fails, its report ends with the logs of the processes it talked to."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        shared = [value for value in item.funcargs.values() if isinstance(value, Service)]
        for service in shared + item.stash.get(_made_for_test, []):
            report.sections += [(f"log of {name}", text) for name, text in service.logs().items()]
    return report
