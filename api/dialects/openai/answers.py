"""A job's images as OpenAI answers with them."""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from flask import Response

from api.dialects.openai.answering import Answering
from api.dialects.openai.errors import name_job
from api.dialects.openai.parameters import QUALITY_STEPS
from shared.jobs.records import Job
from shared.jobs.result_stream import Base64Stream
from shared.jobs.status import warnings_of
from shared.request.model import ImageRequest
from shared.storage.results import ResultStore

_FORMATS = {"jpg": "jpeg"}
_QUALITIES = {steps: quality for quality, steps in reversed(list(QUALITY_STEPS.items())) if steps}


def images_answer(job: Job, asked: Answering, results: ResultStore, address: str) -> Response:
    """The answer with all images of a job, sent as it is made; links begin with `address`. Raises ResultMissing."""
    names = [image.name for image in job.images]

    def text_with(mark: str) -> bytes:
        return json.dumps(_body(job, asked, address, mark)).encode()

    stream = Base64Stream(results, job.folder, names if asked.b64 else [], text_with)
    response = Response(iter(stream), mimetype="application/json")
    response.content_length = stream.length
    name_job(response)
    return response


def _body(job: Job, asked: Answering, address: str, mark: str) -> dict[str, Any]:
    return {
        "created": int(job.finished or time.time()),
        "data": [
            ({"b64_json": mark} if asked.b64 else {})
            | ({"url": image_url(job, image.name, address)} if asked.url else {})
            | {"seed": image.seed}
            for image in job.images
        ],
        **described(job.request),
        "id": job.id,
        "model": job.request.params.model,
        "warnings": [*warnings_of(job), *asked.warnings],
    }


def described(request: ImageRequest) -> dict[str, str]:
    """What was really made; `quality` is the one of that many steps, if there is one."""
    width, height = request.result_size
    told = {
        "background": "opaque",
        "output_format": _FORMATS.get(request.format, request.format),
        "size": f"{width}x{height}",
    }
    quality = _QUALITIES.get(request.params.steps)
    return told | ({"quality": quality} if quality else {})


def image_url(job: Job, name: str, address: str) -> str:
    """Where an image can be had without a key (unless results are private); it ends in the ending of its format."""
    return f"{address}/images/{job.id}/{name}"


def completed_events(job: Job, asked: Answering, event: str, results: ResultStore, address: str) -> Iterator[bytes]:
    """The last events of a stream, one an image, piece by piece. Raises ResultMissing before the first one."""
    streams = [
        Base64Stream(results, job.folder, [image.name], _completed(job, asked, event, image.name, image.seed, address))
        for image in job.images
    ]
    for stream in streams:
        yield from stream


def _completed(job: Job, asked: Answering, event: str, name: str, seed: int, address: str) -> Any:
    def text_with(mark: str) -> bytes:
        data = {
            "type": f"{event}.completed",
            "b64_json": mark,
            **({"url": image_url(job, name, address)} if asked.url else {}),
            "created_at": int(job.finished or time.time()),
            "quality": "auto",
            **described(job.request),
            "seed": seed,
            "warnings": [*warnings_of(job), *asked.warnings],
        }
        return sse(f"{event}.completed", data)

    return text_with


def sse(event: str, data: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return f"event: {event}\ndata: {json.dumps(data)}\n\n".encode()
