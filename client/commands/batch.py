"""`pdiff batch requests.jsonl`: many requests, resumed where an interrupted run was."""

import time
from collections import deque
from http import HTTPStatus
from pathlib import Path
from typing import Any

import click

from client.batch import Done, Line, read_lines
from client.drawing import follow
from client.errors import ClientError, Interrupted, LocalError, Refused, ServerAway
from client.journal import Journal
from client.keys import own_folder
from client.outputs import write_images
from client.server import server_options, with_client
from shared.request.options import image_names


@click.command(
    params=[
        click.Argument(["file"], type=click.File(encoding="utf-8")),
        click.Option(["-o", "--output"], default="images", show_default=True,
                     type=click.Path(file_okay=False, path_type=Path), help="Folder of the images."),
        click.Option(["--at-once"], default=8, show_default=True, type=click.IntRange(1, 1000),
                     help="How many jobs wait or run at a time."),
        click.Option(["--again"], default="", metavar="NAME",
                     help="Another run of the same requests, by a name for it."),
        *server_options(),
    ],
)  # fmt: skip
@with_client
def batch(client: Any, file: Any, output: Path, at_once: int, again: str) -> None:
    """Draw every request of FILE, one JSON object a line, with the parameters of docs/parameters.md.

    An image (init_img) names a file. The same command goes on where it was interrupted; a line that fails does not end
    the run.
    """
    try:
        text = file.read()
    except UnicodeDecodeError:
        raise LocalError(f"{file.name} is no text in UTF-8.") from None
    lines = read_lines(text, output, again)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LocalError(f"{output} cannot be made: {error.strerror}.") from None
    run = _Run(client, output, len(lines))
    try:
        run.all(lines, at_once)
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted with {run.ended} of {len(lines)} done; the same command goes on where it was."
        ) from None
    except ServerAway as away:
        raise ServerAway(f"{away} {run.ended} of {len(lines)} are done; the same command goes on.") from None
    if run.failed:
        raise LocalError(f"{run.failed} of {len(lines)} requests gave no images; see above.")


class _Run:
    def __init__(self, client: Any, folder: Path, count: int) -> None:
        self._client = client
        self._folder = folder
        self._count = count
        self._done = Done(folder)
        self._journal = Journal(own_folder())
        self.ended = 0
        self.failed = 0

    def all(self, lines: list[Line], at_once: int) -> None:
        """Submit, with so many under way at a time, and deliver in the order of the file."""
        under_way: deque[tuple[Line, Any]] = deque()
        for line in lines:
            while len(under_way) >= at_once:
                self._finish(*under_way.popleft())
            if self._done.files_of(line):
                under_way.append((line, None))
            elif job := self._submit(line):
                under_way.append((line, job))
        while under_way:
            self._finish(*under_way.popleft())

    def _submit(self, line: Line) -> Any:
        """The job of a line; None when it cannot be one. A service that is full is waited for."""
        try:
            while True:
                try:
                    job = self._sent(line)
                    break
                except Refused as refused:
                    if refused.status != HTTPStatus.TOO_MANY_REQUESTS or not refused.retry_after_s:
                        raise
                    time.sleep(refused.retry_after_s)
            self._journal.note(job.id, self._client.url, line.prompt)
        except (ClientError, TypeError) as error:
            if isinstance(error, ServerAway) or (
                isinstance(error, Refused) and error.status == HTTPStatus.UNAUTHORIZED
            ):
                raise
            self._failed(line, error)
            return None
        return job

    def _sent(self, line: Line) -> Any:
        parameters = {name: _with_files(name, value) for name, value in line.parameters.items()}
        prompt, image = parameters.pop("prompt", ""), parameters.pop("init_img", None)
        parameters["idempotency_key"] = self._done.key_of(line)
        if image is None:
            return self._client.generate(prompt, **parameters)
        return self._client.img2img(image, prompt, **parameters)

    def _finish(self, line: Line, job: Any) -> None:
        """Wait for a job and write its images; without a job, the line was done by an earlier run."""
        if job is None:
            self._tell(self._done.files_of(line) or [])
            return
        try:
            follow(job, label=f"{line.number}/{self._count}")
            files = write_images(
                job.id, f"{line.number:04d} {line.prompt}", job.files, job.grid_file, str(self._folder)
            )
        except (ServerAway, LocalError):
            raise
        except ClientError as error:
            self._failed(line, error)
            return
        self._done.note(line, files)
        self._tell(files)

    def _failed(self, line: Line, error: Exception) -> None:
        self.failed += 1
        self._done.note(line, [])
        click.echo(f"pdiff: line {line.number}: {error}", err=True)

    def _tell(self, files: list[str]) -> None:
        self.ended += 1
        for name in files:
            click.echo(name)


def _with_files(name: str, value: Any) -> Any:
    """A parameter in which whatever is an image names a file."""
    if isinstance(value, str):
        return Path(value) if name in image_names("img2img") else value
    if name != "controlnet" or not isinstance(value, list):
        return value
    return [
        {part: Path(each) if part == "image" and isinstance(each, str) else each for part, each in unit.items()}
        if isinstance(unit, dict)
        else unit
        for unit in value
    ]
