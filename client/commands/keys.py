"""`pdiff keys`: keep a service's key in a file that nobody else can read, and out of the shell's history."""

import sys

import click

from client.errors import LocalError
from client.keys import KeyStore, own_folder
from client.server import server_options


@click.group()
def keys() -> None:
    """Keep the keys of services."""


@keys.command("set", params=[server_options()[0]])
def set_key(server: str) -> None:
    """Ask for the key of a service, and keep it; without a terminal it is read from standard input."""
    asked = sys.stdin.isatty()
    key = click.prompt(f"Key of {server}", hide_input=True, err=True) if asked else sys.stdin.readline()
    if not key.strip():
        raise LocalError("No key was given; nothing changed.")
    KeyStore(own_folder()).keep(server, key.strip())


@keys.command()
def path() -> None:
    """Print where the keys are kept."""
    click.echo(KeyStore(own_folder()).path)
