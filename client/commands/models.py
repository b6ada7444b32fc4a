"""`pdiff models`: what `--model` can be."""

import json
from typing import Any

import click

from client.server import server_options, with_client
from client.tables import print_table


@click.command(
    params=[click.Option(["as_json", "--json"], is_flag=True, help="All that the service says."), *server_options()]
)
@with_client
def models(client: Any, as_json: bool) -> None:
    """List the models, and why one cannot be used."""
    told = client.models()
    if as_json:
        click.echo(json.dumps(told))
        return
    print_table(
        ("NAME", "STATE", "SIZE", "WHAT"),
        [
            (
                f"{model.get('name')}{' *' if model.get('name') == told.get('default') else ''}",
                "warm" if model.get("warm") else "ready" if model.get("available") else "missing",
                f"{model.get('native_size')}-{model.get('max_size')}",
                f"{model.get('label')}{': ' + model['why_not'] if model.get('why_not') else ''}",
            )
            for model in told.get("models", [])
        ],
    )
