"""How a command reaches the service: its options `--server` and `--key`, and the client made of them."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from client.keys import KeyStore, own_folder

LOCAL = "http://127.0.0.1:5001"


def server_options() -> list[click.Option]:
    """`--server` and `--key`, which `with_client` takes."""
    return [
        click.Option(["--server"], envvar="PDIFF_SERVER", default=LOCAL, show_default=True, show_envvar=True,
                     help="Address of the service."),
        click.Option(["--key"], envvar="PDIFF_KEY", show_envvar=True,
                     help="Key of the service; `pdiff keys set` keeps it where your shell's history does not."),
    ]  # fmt: skip


def key_for(server: str, key: str | None) -> str:
    """The key to show: the one that was given, else the one that is kept for this server, else the public one."""
    from shared.settings import DUMMY_API_KEY

    return key or KeyStore(own_folder()).key_for(server) or DUMMY_API_KEY


def with_client(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command with the server's options a `Client` as its first argument, which is closed behind it."""

    @wraps(command)
    def run(server: str, key: str | None, **values: Any) -> Any:
        from client.api import Client  # imports the HTTP library, which help and completion do without

        with Client(server, key_for(server, key)) as client:
            return command(client, **values)

    return run
