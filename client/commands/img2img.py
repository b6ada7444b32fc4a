"""`pdiff img2img in.png "..."`: image to image."""

from pathlib import Path
from typing import Any

import click

from client.commands.generate import prompted
from client.drawing import delivery_options, draw, taken
from client.server import server_options, with_client
from shared.request.options import NORMALISED, schema_options


@click.command(
    context_settings=NORMALISED,
    params=[
        click.Argument(["image"], type=click.Path(path_type=Path)),
        click.Argument(["prompt"], required=False),
        *delivery_options(),
        *server_options(),
        *schema_options("img2img", without=("prompt", "init_img")),
    ],
    epilog='Example: pdiff img2img sketch.png "a castle" --strength 0.6',
)
@with_client
def img2img(client: Any, image: Path, prompt: str | None, **values: Any) -> None:
    """Draw IMAGE anew after PROMPT; - reads the prompt from standard input."""
    draw(client, lambda parameters: client.img2img(image, **parameters), prompted(prompt, values), taken(values))
