"""From the options of a command to images on this machine: submit, wait, deliver; the same for every command."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import click

from client.errors import Interrupted
from client.journal import Journal
from client.keys import own_folder
from client.outputs import STDOUT, format_of, require_room, write_images
from client.progress import Previews, Progress
from client.terminal_images import Graphics, graphics_of

if TYPE_CHECKING:
    from client.api import Client, Job


@dataclass(frozen=True)
class Delivery:
    """What a command was told to do with a job: where its images go, and what is printed of it."""

    output: str | None
    wait: bool = True
    id_only: bool = False
    as_json: bool = False
    preview: bool = False


def output_option() -> click.Option:
    """Where images go."""
    return click.Option(
        ["-o", "--output"],
        help="File or folder of the images; - for standard output. Without it, files named after the prompt, in this "
        "folder.",
    )


def preview_option() -> click.Option:
    """Whether images are shown."""
    return click.Option(["--preview"], is_flag=True, help="Show the image in the terminal, also while it is drawn.")


def delivery_options() -> list[click.Option]:
    """The options of a `Delivery`, which `taken` takes out of a command's values."""
    return [
        output_option(),
        click.Option(["--wait/--no-wait"], default=True, help="--no-wait: queue the job, and print its id."),
        click.Option(["--id-only"], is_flag=True, help="Print the job's id instead of the names of its files."),
        click.Option(["as_json", "--json"], is_flag=True, help="Print all that the service says of the job, as JSON."),
        preview_option(),
    ]


def taken(values: dict[str, Any]) -> Delivery:
    """The delivery that a command's options ask for, taken out of them."""
    return Delivery(**{field.name: values.pop(field.name) for field in fields(Delivery) if field.name in values})


def draw(
    client: "Client", submit: Callable[[Mapping[str, Any]], "Job"], values: dict[str, Any], delivery: Delivery
) -> None:
    """Submit what the options say, by `submit(parameters)`, and deliver it.

    Raises Interrupted with what is known of the job, and whatever the client raises.
    """
    parameters = {name: value for name, value in values.items() if value is not None}
    parameters |= {"format": found} if (found := format_of(delivery.output, values.get("format"))) else {}
    if delivery.output == STDOUT and delivery.id_only:
        raise click.UsageError("-o - and --id-only both want standard output; leave one out.")
    if delivery.wait:
        alone = parameters.get("skip_grid", True)
        require_room(delivery.output, parameters.get("n_iter", 1) * parameters.get("n_samples", 1) if alone else 1)
    try:
        job = submit(parameters)
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted while the job was being submitted: it may have been taken; `pdiff jobs list` knows, once done."
        ) from None
    prompt = str(parameters.get("prompt", ""))
    deliver(client, job, prompt, delivery)


def deliver(client: "Client", job: "Job", prompt: str, delivery: Delivery) -> None:
    """Note a job, wait for it, write its images, and print what came of it."""
    try:
        Journal(own_folder()).note(job.id, client.url, prompt)
        if not delivery.wait:
            click.echo(json.dumps({"task_id": job.id, "server": client.url}) if delivery.as_json else job.id)
            return
        follow(job, delivery.preview)
        files = write_images(job.id, prompt, job.files, job.grid_file, delivery.output)
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted; job {job.id} goes on: `pdiff jobs wait {job.id} -o FILE` waits for it, "
            f"`pdiff jobs cancel {job.id}` ends it."
        ) from None
    if delivery.id_only:
        click.echo(job.id)
    elif delivery.as_json:
        # beside an image on standard output nothing else has room there
        click.echo(json.dumps(dict(job.status().raw) | {"files": files}), err=delivery.output == STDOUT)
    else:
        for name in files:
            click.echo(name)
    for warning in job.parameters.get("warnings", []):
        click.echo(f"pdiff: {warning}", err=True)


def follow(job: "Job", preview: bool = False, label: str = "") -> None:
    """Wait for a job with a bar on standard error; with `preview` under the image that it becomes."""
    graphics = _graphics() if preview else None
    display: Progress | Previews = Previews(graphics) if graphics else Progress(label)
    with display as show:
        job.wait(show, previews=graphics is not None)
        if isinstance(show, Previews):
            show.show(job.files[0][1])
    if graphics:
        click.echo(err=True)


def _graphics() -> Graphics | None:
    graphics = graphics_of(os.environ) if sys.stderr.isatty() else None
    if graphics is None:
        click.echo("pdiff: --preview: this terminal shows no images, as far as is known.", err=True)
    return graphics
