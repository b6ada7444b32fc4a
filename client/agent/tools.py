"""What an agent can do here: generate and edit images, look at models and jobs, cancel."""

import base64
import binascii
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
from mcp_types import CallToolResult

from client.agent.arguments import EditArguments, GenerateArguments, JobArguments, NoArguments, StatusArguments
from client.agent.content import images_of, state_of, told
from client.async_api import AsyncClient, AsyncJob
from client.bodies import ImageSource
from client.errors import NotAnImageFile
from client.wire import Event

Report = Callable[[float, float, str], Awaitable[None]]
"""Told of progress: how far, of how much, and a sentence."""

_CANCEL_S = 5.0  # how long the service is tried when the agent has lost interest
_JOB_ID = re.compile(r"[0-9a-f]{32}")
_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,", re.ASCII)
_LEAST_PROGRESS = 0.0001  # each notification must say more than the one before


class Tools:
    """The tools over one service. Every one may raise a `client.errors.ClientError`, whose sentence the agent reads.

    A TypeError means that a parameter came under two of its names.
    """

    def __init__(self, client: AsyncClient, wait_s: float) -> None:
        """`wait_s`: after so many seconds an agent is told the job's id instead of being kept waiting."""
        self._client = client
        self._wait_s = wait_s

    async def generate_image(self, given: GenerateArguments, report: Report) -> CallToolResult:
        """Generate images from a text."""
        return await self._draw(await self._client.generate(given.prompt, **given.chosen()), report)

    async def edit_image(self, given: EditArguments, report: Report) -> CallToolResult:
        """Generate images that start from another image, after a text. A low strength stays near to that image."""
        source = await self._source(given.image)
        return await self._draw(await self._client.img2img(source, given.prompt, **given.chosen()), report)

    async def list_models(self, given: NoArguments, report: Report) -> CallToolResult:
        """Which models and samplers this server has, which sizes a model was made for, and which one is the default."""
        models, samplers = await self._client.models(), await self._client.samplers()
        names = [str(each["name"]) for each in samplers["samplers"]]
        lines = [_line_of(each, models["default"]) for each in models["models"]]
        text = "\n".join(["Models:", *lines, f"Samplers: {', '.join(names)}"])
        return told(text, default=models["default"], models=models["models"], samplers=names)

    async def job_status(self, given: StatusArguments, report: Report) -> CallToolResult:
        """What became of a job; its images, once it is done."""
        return await self._outcome(self._client.job(given.job_id), given.wait_s, report)

    async def cancel(self, given: JobArguments, report: Report) -> CallToolResult:
        """Stop a job that waits or runs. One that has ended stays as it is."""
        state = await self._client.job(given.job_id).cancel()
        return told(f"Job {state.id}: {state.sentence}", **state_of(state))

    async def _draw(self, job: AsyncJob, report: Report) -> CallToolResult:
        try:
            return await self._outcome(job, self._wait_s, report)
        except anyio.get_cancelled_exc_class():
            # the agent does not want it any more
            with anyio.move_on_after(_CANCEL_S, shield=True):
                await job.cancel()
            raise

    async def _outcome(self, job: AsyncJob, wait_s: float, report: Report) -> CallToolResult:
        """The images of a job, or after `wait_s` how far it is."""
        if not (await job.status()).ended:
            with anyio.move_on_after(wait_s):
                await _follow(job, report)
        state = await job.status()
        if not state.ended:
            text = f"Job {state.id} is not done yet: {state.sentence} Ask job_status for it, with wait_s."
            return told(text, **state_of(state))
        files = await job.files()
        said = [f"Job {state.id} is done: {len(files)} image{'s' * (len(files) > 1)}, seed {_words(state.seeds)}."]
        said += [f"Note: {warning}" for warning in state.parameters.get("warnings", ())]
        return told("\n".join(said), *images_of(files), **state_of(state))

    async def _source(self, image: str) -> ImageSource:
        """The image that an agent means. Raises NotAnImageFile besides."""
        if _JOB_ID.fullmatch(image):
            (_, data), *_ = await self._client.job(image).files()
            return data
        if match := _DATA_URL.match(image):
            return _decoded(image[match.end() :])
        return Path(image) if _is_file(image) else _decoded(image)


async def _follow(job: AsyncJob, report: Report) -> None:
    """Tell of a job's progress until it has ended."""
    last = 0.0
    async for event in job.events():
        last = max(last + _LEAST_PROGRESS, event.progress)
        if not event.last:
            await report(last, 1.0, _message(event))


def _message(event: Event) -> str:
    eta = f", about {event.eta_s:.0f} s left" if event.eta_s and event.eta_s >= 1 else ""
    if event.kind == "queued":
        return f"Waiting, number {event.position} in the queue{eta}" if event.position else "Waiting"
    return f"Step {event.step} of {event.steps}{eta}"


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # base64 is too long for a name
        return False


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NotAnImageFile(
            "The image is neither the id of a job, nor the path of a file on this machine, nor base64."
        ) from None


def _line_of(model: dict[str, Any], default: str) -> str:
    marks = [f"{model['native_size']} px", f"at most {model['max_size']}x{model['max_size']}"]
    marks += ["the default"] * (model["name"] == default) + [f"not here: {model['why_not']}"] * (not model["available"])
    return f"- {model['name']}: {model['label']} ({', '.join(marks)})"


def _words(seeds: tuple[int, ...]) -> str:
    return ", ".join(str(seed) for seed in seeds)
