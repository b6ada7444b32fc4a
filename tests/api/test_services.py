"""The real collaborators, put together as gunicorn gets them, with nobody at Redis' address."""

import runpy
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from api.app import create_app
from api.services import build_services
from shared.settings import DUMMY_API_KEY, Settings


@pytest.fixture
def closed_port():
    """A loopback port on which nobody listens: bound and never listened on."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.fixture
def lonely(closed_port, tmp_path):
    """Settings of a server whose Redis is away."""
    return Settings(redis_url=f"redis://127.0.0.1:{closed_port}/0", output_dir=str(tmp_path / "outputs"))


def test_a_server_starts_without_redis(lonely, assert_error):
    """Given nobody at Redis' address, when the real application is built, then it lives and answers 503."""
    client = create_app(build_services(lonely)).test_client()

    assert client.get("/health").status_code == 200
    assert client.get("/ready").status_code == 503
    answer = client.post("/generate", json={"prompt": "a cat", "api_key": DUMMY_API_KEY})
    assert_error(answer, 503, "service_unavailable")


def test_settings_reach_the_collaborators(lonely):
    """Given settings, when the services are built, then limits and stores have them."""
    services = build_services(lonely)

    assert services.limits.max_images == lonely.max_images_per_job
    assert services.limits.max_input_pixels == lonely.max_input_pixels
    assert services.limits.catalogue.default.name == "demo"
    assert (services.jobs.result_ttl_s, services.jobs.deadline_s) == (lonely.result_ttl_s, lonely.job_deadline_s)


def test_an_unknown_default_model_is_never_another(lonely, caplog):
    """Given a DEFAULT_MODEL that no entry has, when the services are built, then a line says so, for a worker may have
    it; until one does `default` is no model."""
    services = build_services(Settings(redis_url=lonely.redis_url, default_model="nope"))

    assert "DEFAULT_MODEL: 'nope'" in caplog.text
    assert services.catalogue.find("default") is None
    assert services.catalogue.find("demo") is not None


def test_gunicorn_listens_where_the_environment_says(monkeypatch):
    """Given HOST, PORT and numbers of processes and connections, when gunicorn starts, then it has those."""
    for name, value in {"HOST": "0.0.0.0", "PORT": "8080", "API_PROCESSES": "3", "API_CONNECTIONS": "5"}.items():  # noqa: S104
        monkeypatch.setenv(name, value)

    read = runpy.run_module("api.serving.gunicorn_conf")

    assert (read["bind"], read["workers"], read["worker_connections"], read["worker_class"]) == (
        "0.0.0.0:8080",
        3,
        5,
        "api.serving.worker.Worker",
    )


@pytest.mark.programs
def test_gunicorn_s_settings_bring_in_no_client_of_redis():
    """Given gunicorn's settings, when they are read, then nothing has taken the system's sockets before gevent did."""
    program = "import sys, api.serving.gunicorn_conf; sys.exit('redis' in sys.modules or 'kombu' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2]).returncode == 0
