"""`pdiff upscale image.png --factor 2`: make an image larger."""

from pathlib import Path
from typing import Any

import click

from client.drawing import delivery_options, draw, taken
from client.server import server_options, with_client
from shared.catalogue.upscalers import FILTERS
from shared.request.options import NORMALISED, Suggested


@click.command(
    context_settings=NORMALISED,
    params=[
        click.Argument(["image"], type=click.Path(path_type=Path)),
        click.Option(["--factor"], type=click.FLOAT, help="How many times as wide and as high, 1 to 8.  [default: 2]"),
        click.Option(["--upscaler"], type=Suggested(tuple(FILTERS)), help="What enlarges it: these, or a network."),
        click.Option(["--format"], type=click.STRING, help="File format: png, jpg or webp."),
        *delivery_options(),
        *server_options(),
    ],
    epilog="Example: pdiff upscale mars.png --factor 4 -o large.png",
)
@with_client
def upscale(client: Any, image: Path, **values: Any) -> None:
    """Make IMAGE larger."""
    draw(client, lambda parameters: client.upscale(image, **parameters), values, taken(values))
