"""What Prometheus is told of work that was really done."""

from prometheus_client.parser import text_string_to_metric_families

from tests.chaos.traffic import TINY, until
from tests.e2e.service import Service


def counts(service: Service) -> dict[tuple[str, str], float]:
    """How many values the workers have counted, by histogram and stage."""
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(service.get("/metrics").text):
        for sample in family.samples:
            if sample.name == f"{family.name}_count":
                key = (family.name.removeprefix("personal_diffusion_"), sample.labels.get("stage", ""))
                found[key] = found.get(key, 0) + sample.value
    return found


def test_the_work_of_a_job_is_counted(service: Service) -> None:
    """Given a service, when a job of two unguided images of two steps is done, then its wait, the stages of both
    images and their forward passes are counted, a heartbeat later at most."""
    job = TINY | {"n_samples": 2, "ddim_steps": 2, "scale": 1.0}
    before = counts(service)
    assert service.wait(service.submit(**job)).json()["State"] == "SUCCESS"

    def grown(name: str, stage: str = "") -> float:
        return counts(service).get((name, stage), 0) - before.get((name, stage), 0)

    until(lambda: grown("stage_seconds", "storing") >= 2, 60, "the worker tells of no image")
    assert grown("queue_wait_seconds") >= 1
    assert all(grown("stage_seconds", stage) >= 2 for stage in ("text_encoding", "denoising", "decoding"))
    # together or one after the other
    assert grown("forward_pass_seconds") >= 2
    assert grown("forward_pass_batch_items") == grown("forward_pass_seconds")
