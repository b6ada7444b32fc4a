"""`pdiff samplers`: what `--sampler` can be."""

import json
from typing import Any

import click

from client.server import server_options, with_client
from client.tables import print_table


@click.command(
    params=[click.Option(["as_json", "--json"], is_flag=True, help="All that the service says."), *server_options()]
)
@with_client
def samplers(client: Any, as_json: bool) -> None:
    """List the samplers."""
    told = client.samplers()
    if as_json:
        click.echo(json.dumps(told))
        return
    print_table(
        ("NAME", "LABEL", "EVALUATIONS", "ALIASES"),
        [
            (
                f"{sampler.get('name')}{' *' if sampler.get('name') == told.get('default') else ''}",
                sampler.get("label"),
                sampler.get("evaluations_per_step") or "own choice",
                " ".join(sampler.get("aliases", [])),
            )
            for sampler in told.get("samplers", [])
        ],
    )
