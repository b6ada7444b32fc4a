"""`pdiff generate "..."`: text to image."""

import sys
from typing import Any

import click

from client.drawing import delivery_options, draw, taken
from client.server import server_options, with_client
from shared.request.options import NORMALISED, schema_options


@click.command(
    context_settings=NORMALISED,
    params=[
        click.Argument(["prompt"], required=False),
        *delivery_options(),
        *server_options(),
        *schema_options("generate", without=("prompt",)),
    ],
    epilog='Example: pdiff generate "first humans on Mars" -o mars.png',
)
@with_client
def generate(client: Any, prompt: str | None, **values: Any) -> None:
    """Draw images from PROMPT; - reads it from standard input."""
    draw(client, lambda parameters: client.generate(**parameters), prompted(prompt, values), taken(values))


def prompted(prompt: str | None, values: dict[str, Any]) -> dict[str, Any]:
    """The values with the prompt that was given, or that stands on standard input. Raises UsageError without one."""
    if prompt == "-":
        prompt = sys.stdin.read().strip()
    if not prompt and values.get("prompt_file") is None:
        raise click.UsageError("Say what to draw: a PROMPT, or - for what comes on standard input.")
    values["prompt"] = prompt or ""
    return values
