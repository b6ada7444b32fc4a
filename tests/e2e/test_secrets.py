"""What must stay secret does, wherever one looks afterwards."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from shared.settings import DUMMY_API_KEY
from tests.e2e.service import Service

ServiceFactory = Callable[..., Service]
KEY, FILE_KEY, WRONG = "the-first-secret-key", "the-second-secret-key", "a-wrong-secret-key"
SECRET = "-secret-key"  # in each of them
SMALL: dict[str, Any] = {"prompt": "a red circle", "ddim_steps": 2, "H": 64, "W": 64, "return_base64": True}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAD0lEQVR4nGNgGAWDEwAAAcgAAaymAjYAAAAASUVORK5CYII="


def files_with(folder: Path, text: str) -> list[str]:
    return [
        str(file.relative_to(folder))
        for file in sorted(folder.rglob("*"))
        if file.is_file() and text.encode() in file.read_bytes()
    ]


@pytest.mark.parametrize("log_format", ["text", pytest.param("json", marks=pytest.mark.full)])
def test_a_key_is_kept_nowhere(make_service: ServiceFactory, tmp_path: Path, log_format: str) -> None:
    """Given keys sent in every place, right, wrong and broken, and a server that fails with a trace, when logs, Redis'
    journal, job records and images are searched, then no key is in any of them."""
    key_file = tmp_path / "keys"
    key_file.write_text(FILE_KEY)
    service = make_service(API_KEYS=KEY, API_KEYS_FILE=str(key_file), LOG_FORMAT=log_format, LOG_LEVEL="DEBUG")
    done = service.post("/generate", SMALL | {"api_key": KEY, "n_iter": 2, "skip_grid": False}, key=None)
    assert service.wait(done.json()["task_id"]).json()["State"] == "SUCCESS"
    for form in ("jpg", "webp"):
        again = {"X-API-Key": FILE_KEY, "Idempotency-Key": form}
        accepted = [service.post("/generate", SMALL | {"format": form}, key=None, headers=again) for _ in range(2)]
        assert service.wait(accepted[1].json()["task_id"]).json()["State"] == "SUCCESS"
    assert service.get("/recent", key=None, headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
    for wrong in ({"api_key": WRONG}, {"api_key": [WRONG]}, {"api_key": KEY, "promt": "x"}):
        assert service.post("/generate", SMALL | wrong, key=None).status_code in (400, 401)
    for line in (f"X-API-Key {WRONG}", f"X-API-Key: {WRONG}\0", f"X-API-Key : {WRONG}", f"{WRONG}: x"):
        broken(service, line)
    service.output_dir.rename(service.folder / "moved")
    service.output_dir.write_text("no folder any more")
    failed = service.post("/img2img", SMALL | {"api_key": KEY, "init_img": PNG}, key=None)
    assert (failed.status_code, failed.json()["code"]) == (500, "internal_error")
    assert "secret" not in failed.text
    logs = "\n".join(service.logs(100_000).values())
    assert "Traceback" in logs, "the failure must have been logged for this test to mean anything"
    assert files_with(service.folder / "redis", "red circle"), "and the journal must hold what was asked for"
    assert files_with(service.folder, SECRET) == []


def broken(service: Service, line: str) -> None:
    """Send a request with a header line that no library would send."""
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as client:
        client.sendall(f"GET /recent HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{line}\r\n\r\n".encode())
        assert client.recv(100).split()[1] in (b"400", b"401")


def test_the_jobs_of_others_cannot_be_listed(service: Service) -> None:
    """Given jobs, when somebody without a key looks around, then no address of the API names one of them."""
    task_id = service.submit(**SMALL)
    service.wait(task_id)
    document = service.get("/openapi.json", key=None).json()
    readable = [path for path, calls in document["paths"].items() if "get" in calls and "{" not in path]
    assert {"/recent", "/ready", "/metrics", "/models"} <= set(readable)
    for path in [*readable, "/status", "/status/", "/images", f"/images/{task_id}", f"/images/{task_id}/", "/cancel"]:
        assert task_id not in service.get(path, key=None).text, path
    assert task_id in service.get("/recent", key=DUMMY_API_KEY).text
