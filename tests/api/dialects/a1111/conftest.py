"""What the tests of A1111's dialect share: an API whose worker is at once done, keys, and the shape of errors."""

import base64
from collections.abc import Callable
from typing import Any

import pytest

from shared.settings import DUMMY_API_KEY
from tests.api.conftest import World

BASIC = {"Authorization": "Basic " + base64.b64encode(f"anyone:{DUMMY_API_KEY}".encode()).decode()}


@pytest.fixture(scope="module")
def _client(_one_world: World) -> Any:
    return _one_world.another_client(sync_timeout_s=20.0)


@pytest.fixture
def web_ui(world: World, _client: Any) -> Any:
    """A client of an API with a worker that carries out every job at once."""
    world.play_worker(world.work)
    return _client


@pytest.fixture
def assert_refused() -> Callable[..., dict[str, str]]:
    """Check that an answer is an error in A1111's shape that names these fields; gives its parts."""

    def check(answer: Any, status: int, *fields: str) -> dict[str, str]:
        assert answer.status_code == status, answer.text
        told: dict[str, str] = answer.json
        assert set(told) == {"error", "detail", "body", "errors"}
        assert all(isinstance(text, str) for text in told.values())
        for field in fields:
            assert field in told["errors"]
        return told

    return check
