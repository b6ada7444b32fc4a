"""Puts a worker's card or jobs into the Redis of `benchmarks.http`, with the code that PYTHONPATH names.

`worker`: a card that counts for an hour. `waiting N`: so many jobs that nobody begins. `finished`: a job with a
image. Prints the ids of the jobs.
"""

import io
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from PIL import Image

from shared.catalogue.entries import catalogue_for
from shared.jobs.records import StoredImage, new_job_id
from shared.jobs.store import JobStore
from shared.jobs.workers import WorkerCard, WorkerRegister
from shared.queue import connect
from shared.request.intake import load_request
from shared.request.limits import Limits
from shared.request.model import ImageRequest
from shared.request.schemas import GenerateSchema
from shared.settings import Settings, read_settings
from shared.storage.results import ResultStore

_CARD_S = 3600


def main(what: str, count: int = 1) -> None:
    """Do it."""
    settings = read_settings()
    client = connect(settings)
    jobs = JobStore.from_settings(client, settings)
    if what == "worker":
        models = tuple(model.name for model in catalogue_for(settings))
        card = WorkerCard("cpu-benchmark", "cpu", "cpu", 1, available_models=models)
        WorkerRegister(client, settings.key_prefix, _CARD_S).announce(card)
        return
    for _ in range(count):
        job_id = new_job_id()
        jobs.accept(job_id, _request(settings))
        if what == "finished":
            _finish(jobs, ResultStore(settings.output_dir), job_id)
        sys.stdout.write(f"{job_id}\n")


def _request(settings: Settings) -> ImageRequest:
    limits = Limits(
        catalogue=catalogue_for(settings), prompts_dir=Path(settings.prompts_dir), max_input_pixels=1,
        max_prompt_chars=1000, max_images=1, max_cost=settings.max_job_cost,
    )  # fmt: skip
    return load_request(GenerateSchema(limits), {"prompt": "a house and a tree"})[0]


def _finish(jobs: JobStore, results: ResultStore, job_id: str) -> None:
    job = jobs.get(job_id)
    claim = jobs.claims.claim(job_id, 0)
    assert claim is not None  # noqa: S101 - it was accepted just now
    encoded = io.BytesIO()
    Image.effect_noise(job.request.result_size, 50).convert("RGB").save(encoded, "PNG")
    known = {each.name for each in fields(StoredImage)}  # earlier versions kept the prompt, too
    facts: dict[str, Any] = {"name": "0000-1.png", "seed": 1, "prompt": "a house and a tree"}
    image = StoredImage(**{name: fact for name, fact in facts.items() if name in known})
    results.write(job.folder, image.name, encoded.getvalue())
    jobs.claims.finish(claim, [image], {"device": "cpu"}, [])
    jobs.close(job_id, None)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
