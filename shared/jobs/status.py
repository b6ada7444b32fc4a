"""What is told about a job, as JSON: to whoever asks for its status, and to the address that its request named."""

from typing import Any

from shared.jobs.records import Job, State
from shared.request.parameters import wire_parameters
from shared.storage.results import ResultStore


def status_link(job_id: str) -> str:
    return f"/status/{job_id}"


def image_link(job: Job, name: str, results: ResultStore) -> str:
    """Where an image can be had: through the API, or straight from the object store where links may be presigned."""
    return results.link(job.folder, name) or f"/images/{job.id}/{name}"


def main_image(job: Job) -> str:
    """The file name of the image that stands for the job: the grid if one was asked for, else the first."""
    return job.grid or job.images[0].name


def steps_told(job: Job) -> dict[str, Any]:
    """How far a job is: what both a status and an event tell of it."""
    return {
        "Progress": round(job.progress, 4),
        "Step": job.step,
        "Steps": job.steps,
        "ETA": None if job.eta_s is None else round(job.eta_s, 1),
    }


def describe(job: Job, results: ResultStore) -> dict[str, Any]:
    """The state of a job, without the images' bytes. One that has ended has links to what was finished of it."""
    answer: dict[str, Any] = {
        "task_id": job.id,
        "State": job.state.value,
        "Status": _sentence(job),
        "Progress": round(job.progress, 4),
        "Step": job.step,
        "Steps": job.steps,
        "Position": job.position,
        "ETA": None if job.eta_s is None else round(job.eta_s, 1),
        "active_model": job.request.params.model,
    }
    if job.error:
        answer["Error"] = {"error": job.error.message, "code": job.error.code}
    if job.state.final and job.images:
        used = next(task.used for task in job.tasks if task.done)
        answer |= {
            "Size": list(job.request.result_size),
            "Format": job.request.format,
            "Seeds": [image.seed for image in job.images],
            "Images": [image_link(job, image.name, results) for image in job.images],
            "Grid_image": image_link(job, job.grid, results) if job.grid else None,
            "Download": f"/download/{job.id}",
            "Parameters": wire_parameters(job.request, used, _said_of_tasks(job)),
        }
    return answer


def warnings_of(job: Job) -> list[str]:
    """Everything that is to be said to whoever gets the images of a job, each sentence once."""
    return list(dict.fromkeys((*job.request.warnings, *_said_of_tasks(job))))


def _said_of_tasks(job: Job) -> list[str]:
    """What the workers have to say about the job's tasks, and about its grid where there is none."""
    said = [warning for each in job.tasks for warning in each.warnings]
    if job.state is State.SUCCESS and not job.request.skip_grid and job.grid is None:
        said.append("skip_grid: the grid could not be made; all images are there.")
    return said


def _sentence(job: Job) -> str:
    match job.state:
        case State.PENDING:
            return f"Waiting, number {job.position} in the queue." if job.position else "Waiting."
        case State.PROGRESS:
            if job.download is not None:
                return f"Working: downloading {job.download} %."
            return f"Working: step {job.step} of {job.steps}."
        case State.SUCCESS:
            return "Done."
        case State.REVOKED:
            return "Cancelled."
        case State.FAILURE:
            return f"Failed: {job.error.message}" if job.error else "Failed."
