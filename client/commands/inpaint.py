"""`pdiff inpaint in.png "..." --mask mask.png`: a part of an image drawn anew, or more at its sides."""

from pathlib import Path
from typing import Any

import click

from client.commands.generate import prompted
from client.drawing import delivery_options, draw, taken
from client.server import server_options, with_client
from shared.request.options import NORMALISED, schema_options

_SIDES = ("left", "top", "right", "bottom")


@click.command(
    context_settings=NORMALISED,
    params=[
        click.Argument(["image"], type=click.Path(path_type=Path)),
        click.Argument(["prompt"], required=False),
        *(
            click.Option([f"--{side}"], type=click.INT, help=f"Pixels to go on beyond the {side} side.")
            for side in _SIDES
        ),
        *delivery_options(),
        *server_options(),
        *schema_options("img2img", without=("prompt", "init_img", "expand")),
    ],
    epilog='Example: pdiff inpaint photo.png "a red circle" --mask mask.png --strength 1',
)
@with_client
def inpaint(client: Any, image: Path, prompt: str | None, **values: Any) -> None:
    """Draw the part of IMAGE that a mask shows anew after PROMPT, or go on beyond its sides; the rest stays."""
    expand = {side: pixels for side in _SIDES if (pixels := values.pop(side))}
    if values["mask"] is None and not expand:
        raise click.UsageError("Say what to draw anew: --mask FILE, or how far to go on, as in --left 64.")
    values["expand"] = expand or None
    draw(client, lambda parameters: client.img2img(image, **parameters), prompted(prompt, values), taken(values))
