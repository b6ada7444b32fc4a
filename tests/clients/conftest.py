"""What the foreign clients talk to: one service, and a second address of it that has no room."""

from pathlib import Path

import pytest

from tests.e2e.conftest import pytest_runtest_makereport, service
from tests.e2e.service import Api, Service

__all__ = ["full_api", "installed", "pytest_runtest_makereport", "service"]


@pytest.fixture(scope="session")
def full_api(service: Service) -> Api:
    """An API process of the service in which nobody may wait: every request for images is 429."""
    return service.start_api(SYNC_WAITERS="0")


@pytest.fixture(scope="session")
def installed() -> Path:
    """Where `tests/clients/install.sh` puts the clients."""
    folder = Path(__file__).resolve().parents[2] / "build" / "clients"
    if not folder.is_dir():
        pytest.skip("no foreign clients are installed: run `make test-clients`")
    return folder
