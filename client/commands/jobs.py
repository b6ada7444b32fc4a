"""`pdiff jobs`: find jobs again, look at them, fetch their images, wait for them, cancel them."""

import json
import re
from typing import Any

import click

from client.drawing import Delivery, follow, output_option, preview_option, taken
from client.errors import Interrupted, LocalError, Refused
from client.flows import require_images
from client.journal import Journal
from client.keys import own_folder
from client.outputs import require_room, write_images
from client.server import server_options, with_client
from client.tables import print_table
from client.wire import JobStatus

_JSON = ["as_json", "--json"]


class JobId(click.ParamType[str]):
    """A job's id, or an address that ends with one."""

    name = "id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        found = value.rstrip("/").rpartition("/")[2]
        if not re.fullmatch(r"[\w-]{1,100}", found, re.ASCII):
            self.fail(f"'{value}' is no id of a job; `pdiff jobs list` has them.", param, ctx)
        return found


def _id(many: bool = False) -> click.Argument:
    return click.Argument(
        ["ids" if many else "job_id"], metavar="ID", type=JobId(), nargs=-1 if many else 1, required=True
    )


@click.group()
def jobs() -> None:
    """Find jobs again, fetch them, wait for them, cancel them."""


@jobs.command(
    "list",
    params=[
        click.Option(["most", "-n"], default=10, show_default=True, type=click.IntRange(1, 100), help="How many."),
        click.Option(_JSON, is_flag=True, help="As JSON."),
        *server_options(),
    ],
)
@with_client
def list_jobs(client: Any, most: int, as_json: bool) -> None:
    """List the last jobs that you submitted from here, and the last successful ones of the key."""
    known = {entry.id: entry.prompt for entry in Journal(own_folder()).latest(client.url, most)}
    for job in client.recent():
        known.setdefault(job.id, "")
    found = [(_state(client, job_id), prompt) for job_id, prompt in list(known.items())[:most]]
    if as_json:
        click.echo(json.dumps([dict(status.raw) for status, _ in found]))
        return
    print_table(
        ("ID", "STATE", "PROMPT"),
        [(status.id, status.state, status.parameters.get("prompt") or prompt) for status, prompt in found],
    )


def _state(client: Any, job_id: str) -> JobStatus:
    try:
        status: JobStatus = client.job(job_id).status()
    except Refused as refused:
        if refused.status not in (404, 410):
            raise
        told = {"task_id": job_id, "State": "GONE", "Status": str(refused)}
        return JobStatus(job_id, "GONE", str(refused), raw=told)
    return status


@jobs.command(params=[_id(), click.Option(_JSON, is_flag=True, help="As JSON."), *server_options()])
@with_client
def describe(client: Any, job_id: str, as_json: bool) -> None:
    """Show all that is known of a job."""
    told = client.job(job_id).status().raw
    if as_json:
        click.echo(json.dumps(told))
        return
    facts = {name: value for name, value in told.items() if name != "Parameters" and value is not None}
    for name, value in [*facts.items(), *told.get("Parameters", {}).items()]:
        click.echo(f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")


@jobs.command(params=[_id(), output_option(), *server_options()])
@with_client
def get(client: Any, job_id: str, output: str | None) -> None:
    """Fetch the images of a job that is done."""
    job = client.job(job_id)
    known = job.status()
    if not known.ended:
        raise LocalError(f"Job {job_id} has not ended: {known.sentence} `pdiff jobs wait {job_id}` waits for it.")
    _deliver(job, require_images(known), output)


@jobs.command(params=[_id(), output_option(), preview_option(), *server_options()])
@with_client
def wait(client: Any, job_id: str, **values: Any) -> None:
    """Wait for a job. With -o its images are fetched, without it its state is printed."""
    delivery: Delivery = taken(values)
    job = client.job(job_id)
    try:
        follow(job, delivery.preview)
        if delivery.output is None:
            click.echo(job.status().state)
        else:
            _deliver(job, job.status(), delivery.output)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; job {job_id} goes on: `pdiff jobs cancel {job_id}` ends it.") from None


@jobs.command(params=[_id(many=True), *server_options()])
@with_client
def cancel(client: Any, ids: tuple[str, ...]) -> None:
    """Cancel jobs that wait or run, and print what they are then."""
    for job_id in ids:
        click.echo(f"{job_id} {client.job(job_id).cancel().state}")


def _deliver(job: Any, known: JobStatus, output: str | None) -> None:
    require_room(output, 1 if known.grid else len(known.images))
    for name in write_images(job.id, str(known.parameters.get("prompt", "")), job.files, job.grid_file, output):
        click.echo(name)
