"""What starts, and what does not, when others could reach a service without keys of its own."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from client.local.processes import start_child, stop_children
from tests.e2e.service import REPOSITORY, Service, clean_environment, free_port

GUNICORN = [sys.executable, "-m", "gunicorn", "--config", "python:api.serving.gunicorn_conf", "api.wsgi:app"]
STARTS = {
    "gunicorn": GUNICORN,
    "another server": [sys.executable, "-c", "import api.wsgi"],
    "launcher": [sys.executable, "-m", "client", "serve"],
}


@pytest.mark.parametrize("command", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize("reach", [{"HOST": "::"}, {"BIND_ADDRESS": "192.168.1.7"}])
def test_it_does_not_start_for_others_without_keys(command: list[str], reach: dict[str, str], tmp_path: Path) -> None:
    """Given an address that others reach and no API_KEYS, when the API is started in any way, then one sentence and
    the end, before anything was started or written."""
    environment = clean_environment() | reach | {"PORT": str(free_port()), "PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    said = (ended.stdout + ended.stderr).strip()

    assert ended.returncode != 0
    assert "Traceback" not in said
    assert f"{next(iter(reach))}=" in said
    assert "set API_KEYS, or ALLOW_DUMMY_KEY=true" in said
    assert list(tmp_path.iterdir()) == []


def test_it_listens_on_ipv6(redis_url: str, tmp_path: Path) -> None:
    """Given HOST=::1, when the API starts, then it answers there."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
            port = probe.getsockname()[1]
    except OSError:
        pytest.skip("this machine has no ::1")
    environment = clean_environment() | {"HOST": "::1", "PORT": str(port), "REDIS_URL": redis_url}
    child = start_child("api", GUNICORN, environment=environment, log=tmp_path / "api.log", cwd=REPOSITORY)
    try:
        while True:
            try:
                assert requests.get(f"http://[::1]:{port}/health", timeout=10).json() == {"status": "ok"}
                break
            except requests.ConnectionError:
                assert child.alive, child.last_words()
    finally:
        stop_children([child], 10)


def test_a_rebound_page_gets_nothing_from_the_real_server(service: Service) -> None:
    """Given a started service without API_KEYS, when asked under a foreign name, then 421 in the one shape."""
    answer = service.get("/recent", headers={"Host": "evil.example"})

    assert (answer.status_code, answer.json()["code"]) == (421, "host_not_allowed")
