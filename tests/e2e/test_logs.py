"""What the processes log about a job."""

import json

from shared.settings import DUMMY_API_KEY
from tests.e2e.service import Service


def test_a_job_can_be_followed_through_api_and_worker(service: Service) -> None:
    """Given JSON logs, when a job is done, then every line is JSON, and API and worker have lines with its id; no line
    has the key."""
    task_id = service.submit(prompt="a red circle", ddim_steps=2, H=64, W=64, api_key=DUMMY_API_KEY, return_base64=True)
    assert service.wait(task_id).json()["State"] == "SUCCESS"
    cancelled = service.submit(prompt="a red circle", ddim_steps=500)
    service.post(f"/cancel/{cancelled}")
    for name, log in service.logs(lines=1000).items():
        if name == "redis":
            continue
        # what is written before the settings are read, or by libraries past the logger, is not ours
        lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        assert any(line.get("job_id") == task_id for line in lines), name
        assert all({"event", "level", "timestamp"} <= set(line) for line in lines)
        assert not any(task_id in line["event"] for line in lines)
        assert not any(DUMMY_API_KEY in str(line) for line in lines if "API_KEYS is not set" not in line["event"])
