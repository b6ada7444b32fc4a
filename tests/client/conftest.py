"""A stand-in for the service for the tests of the client."""

from collections.abc import Iterator

import pytest

from client import api, flows
from tests.client.stub import Stub


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """A service that plays its jobs through as fast as it is asked."""
    monkeypatch.setattr(flows, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(flows, "_FIRST_LOOK_S", 0.001)
    monkeypatch.setattr(api, "FIRST_S", 0.1)
    stub = Stub()
    yield stub
    stub.close()
