"""Which jobs whoever asks may see."""

from flask import Request

from api.services import Services
from shared.errors import NotFound
from shared.jobs.records import Job
from shared.jobs.store import NO_SUCH_JOB


def visible_job(services: Services, request: Request, job_id: str) -> Job:
    """A job that whoever asks may see: with PRIVATE_RESULTS only by its own key, and 404 by any other.

    Raises NotFound, Gone, Unauthorized and `redis.RedisError`.
    """
    if not services.settings.private_results:
        return services.jobs.get(job_id)
    with services.door.enter(request) as caller:
        job = services.jobs.get(job_id)
    if job.owner != caller.owner:
        raise NotFound(NO_SUCH_JOB)
    return job
