"""How far the jobs of a key are, and stopping them: of nobody else's is anything told, or changed."""

from contextlib import suppress
from typing import Any

from api.dialects.a1111.info import timestamp
from api.services import Services
from shared.errors import Gone, InternalError, NotFound
from shared.jobs.records import Job, State
from shared.jobs.status import describe

_IDLE_TIMESTAMP = "0"
# a job of the key that has gone meanwhile, or that another version wrote: of the others is told all the same
_UNREADABLE = (NotFound, Gone, InternalError)


def progress_of(services: Services, owner: str, *, with_image: bool) -> dict[str, Any]:
    """What `GET /sdapi/v1/progress` answers to a key: about the job that is at work, else about the next one."""
    jobs = services.jobs.open_of(owner)
    job = _open_job(services, jobs)
    if job is None:
        return _answer(None, 0)
    preview = services.jobs.progress.preview(job.id) if with_image and job.state is State.PROGRESS else None
    sentence = str(describe(job, services.results)["Status"])
    return _answer(job, len(jobs)) | {"current_image": preview, "textinfo": sentence}


def _answer(job: Job | None, count: int) -> dict[str, Any]:
    return {
        "progress": round(job.progress, 4) if job else 0.0,
        "eta_relative": round(job.eta_s, 1) if job and job.eta_s is not None else 0.0,
        "state": {
            "skipped": False,
            "interrupted": False,
            "stopping_generation": False,
            "job": job.id if job else "",
            "job_count": count if job else 0,
            "job_timestamp": timestamp(job.created) if job else _IDLE_TIMESTAMP,
            "job_no": sum(task.done for task in job.tasks) if job else 0,
            "sampling_step": job.step if job else 0,
            "sampling_steps": job.steps if job else 0,
        },
        "current_image": None,
        "textinfo": None,
    }


def interrupt(services: Services, owner: str) -> dict[str, Any]:
    """Stop all jobs of the key that a client waits for; what is only queued has a cancel of its own. Gives {}."""
    for job_id in services.jobs.open_of(owner):
        with suppress(*_UNREADABLE):
            if services.jobs.get(job_id).request.synchronous:
                services.jobs.cancel(job_id)
    return {}


def skip(services: Services, owner: str) -> dict[str, Any]:
    """Stop one job of the key that a client waits for: the one at work, or else the next one. Gives {}."""
    for job_id in services.jobs.open_of(owner):
        with suppress(*_UNREADABLE):
            if services.jobs.get(job_id).request.synchronous:
                services.jobs.cancel(job_id)
                break
    return {}


def _open_job(services: Services, jobs: list[str]) -> Job | None:
    for job_id in jobs:
        with suppress(*_UNREADABLE):
            job = services.jobs.get(job_id)
            if not job.state.final:
                return job
    return None
