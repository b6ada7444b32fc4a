"""The application with a worker that draws at once, as OpenAI's clients talk to it."""

from collections.abc import Mapping
from typing import Any

import pytest

from api.app import create_app
from shared.settings import DUMMY_API_KEY

KEY = {"Authorization": f"Bearer {DUMMY_API_KEY}"}


class OpenAIClient:
    """Posts to `/v1` and reads its answers; the worker of `world` draws at once what is queued."""

    def __init__(self, world: Any, http: Any = None, **settings: Any) -> None:
        self.world = world
        self.http = http or world.another_client(sync_timeout_s=5.0, **settings)
        world.play_worker(world.work)

    def post(self, path: str = "/v1/images/generations", headers: Mapping[str, str] = KEY, **body: Any) -> Any:
        """Post JSON over a valid minimum; a field that is `...` is left out."""
        whole = {"prompt": "a cat"} | body
        sent = {name: value for name, value in whole.items() if value is not ...}
        return self.http.post(path, json=sent, headers=dict(headers))

    def form(self, path: str = "/v1/images/edits", headers: Mapping[str, str] = KEY, **parts: Any) -> Any:
        return self.http.post(path, data=parts, headers=dict(headers))

    def get(self, path: str, headers: Mapping[str, str] = KEY) -> Any:
        return self.http.get(path, headers=dict(headers))

    def jobs(self) -> int:
        """How many jobs there are."""
        return len(self.world.job_keys())


@pytest.fixture(scope="session")
def patient_app(_one_world: Any) -> Any:
    """An application that waits for its jobs, built once."""
    return create_app(_one_world.build(sync_timeout_s=5.0))


@pytest.fixture
def openai(world: Any, patient_app: Any) -> OpenAIClient:
    return OpenAIClient(world, patient_app.test_client())


def error_of(answer: Any, status: int) -> dict[str, Any]:
    """Check that an answer is an error in OpenAI's shape; gives what stands behind `error`."""
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/json"
    assert set(answer.json) == {"error"}
    error: dict[str, Any] = answer.json["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert "Traceback" not in answer.text
    return error
