"""`pdiff rerun image.png`: draw an image again from the parameters that it carries."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from client.drawing import delivery_options, draw, taken
from client.server import server_options, with_client
from shared.request.control import Control
from shared.request.defaults import ACCELERATOR
from shared.request.options import NORMALISED, schema_options


@click.command(
    context_settings=NORMALISED,
    params=[
        click.Argument(["image"], type=click.Path(path_type=Path)),
        *delivery_options(),
        *server_options(),
        *schema_options("img2img"),
    ],
    epilog="Example: pdiff rerun mars.png --steps 50",
)
@with_client
def rerun(client: Any, image: Path, init_img: Path | None, **values: Any) -> None:
    """Draw IMAGE again; options that are given replace what it was drawn with."""
    from client.bodies import body_of
    from client.outputs import format_of
    from client.receipts import receipt_of

    delivery = taken(values)
    receipt = receipt_of(image, client)
    for warning in receipt.warnings:
        click.echo(f"pdiff: {warning}", err=True)
    if receipt.kind == "img2img" and init_img is None:
        raise click.UsageError(f"{image} was drawn from another image: say from which with --init-img.")
    if receipt.masked and values["mask"] is None:
        raise click.UsageError(f"A part of {image} was drawn anew: say which with --mask.")
    if (controls := _as_options(receipt.parameters.get("controlnet"))) and values["controlnet"] is None:
        raise click.UsageError(f"{image} was drawn after images that it does not carry: say which with {controls}")
    told = dict(receipt.parameters)
    if format_of(delivery.output, None):
        told.pop("format", None)
    changes = body_of("img2img", {name: value for name, value in values.items() if value is not None})
    parameters = _without_accelerator(told, changes) | changes

    def submit(checked: Any) -> Any:
        return client.generate(**checked) if init_img is None else client.img2img(init_img, **checked)

    draw(client, submit, parameters, delivery)


def _as_options(controls: Any) -> str:
    """The ControlNets that an image tells of, as they are typed, with FILE in the place of what each followed."""
    options = list[str]()
    for control in controls if isinstance(controls, list) else ():
        if isinstance(control, dict) and isinstance(name := control.get("model"), str):
            usual = asdict(Control(model=name))
            told = [f",{part}={value}" for part, value in control.items() if part in usual and value != usual[part]]
            options += ["--control", f"{name}=FILE{''.join(told)}"]
    return shlex.join(options)


def _without_accelerator(told: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """What an image tells without the LoRA of its accelerator, where another one, or none, is asked for."""
    accelerator, loras = told.get(ACCELERATOR), told.get("loras")
    if changes.get(ACCELERATOR, accelerator) == accelerator or not isinstance(loras, list):
        return told
    return told | {"loras": [each for each in loras if not isinstance(each, dict) or each.get("name") != accelerator]}
