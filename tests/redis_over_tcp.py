"""The command of the tests' own Redis: as `make run` starts it, but on a loopback port, and with CONFIG."""

from pathlib import Path

from client.local.embedded_redis import server_command


def redis_command(server: Path, port: int, folder: Path) -> list[str]:
    return [*server_command(server, folder), "--bind", "127.0.0.1", "--port", str(port)]
