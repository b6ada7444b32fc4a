"""Redis and the disk fail: what was accepted stays accepted, what cannot be accepted is said to be so."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.chaos.conftest import Scale
from tests.chaos.traffic import TINY, clients, events, images, until
from tests.e2e.service import Service

ServiceFactory = Callable[..., Service]
Keep = Callable[..., None]


@pytest.mark.full
def test_redis_killed_again_and_again_loses_nothing(
    make_service: ServiceFactory, scale: Scale, keep_figures: Keep
) -> None:
    """Given load, when Redis is killed and comes back, then accepted jobs are done and submits meanwhile are 503."""
    kills, down_s, up_s = scale((2, 1.0, 3.0), (20, 2.0, 8.0))
    service = make_service(workers=2, apis=2, LOG_FORMAT="json", VISIBILITY_TIMEOUT_S="10", MAX_ATTEMPTS="9")
    moments, returns = [], []
    with clients(service) as traffic:
        traffic.submit(10**6, 0.1)
        traffic.watch()
        for _ in range(kills):
            time.sleep(up_s)
            assert service.redis
            service.kill(service.redis)
            moments.append(time.time())
            time.sleep(down_s)
            service.start_redis()
            returns.append(time.time())
        time.sleep(up_s)
        traffic.stop_submitting()
        until(
            lambda: all(states[-1] in ("SUCCESS", "HTTP 404") for states in traffic.seen.states.values()),
            120, f"not all ended: {[states for states in traffic.seen.states.values() if states[-1] != 'SUCCESS'][:5]}",
        )  # fmt: skip
        seen = traffic.seen
    lost = [job_id for job_id, states in seen.states.items() if states[-1] == "HTTP 404"]
    assert not [job_id for job_id in lost if not any(0 <= kill - seen.accepted[job_id] <= 1 for kill in moments)]
    assert set(seen.answers) <= {202, 503}
    assert seen.answers[503] > 0
    assert len({file.parent.name for file in images(service)}) >= seen.count("SUCCESS")
    begun = [event.time for event in events(service) if event.begins]
    again = [min(moment for moment in begun if moment > back) - back for back in returns]
    assert max(again) <= scale(30, 10)
    keep_figures(
        restarts=kills, jobs=len(seen.accepted), lost_of_the_last_second=len(lost), lost_older=0,
        submits_answered_503=seen.answers[503], submits_without_an_answer=seen.broken, false_202=0,
        slowest_return_to_work_s=round(max(again), 1),
    )  # fmt: skip


@pytest.mark.full
def test_killed_api_processes_lose_nothing(make_service: ServiceFactory, scale: Scale, keep_figures: Keep) -> None:
    """Given load, when API processes are killed, then clients that retry with a key get one job a request."""
    kills, jobs = scale((2, 60), (20, 1000))
    service = make_service(workers=1, apis=2, LOG_FORMAT="json")
    with clients(service) as traffic:
        traffic.submit(jobs // 2, 0.01)
        traffic.submit(jobs - jobs // 2, 0.01)
        traffic.watch()
        for _ in range(kills):
            time.sleep(1)
            service.kill(service.apis[0].child)
            service.start_api()
        until(
            lambda: not traffic.submitting and traffic.seen.ended == len(traffic.seen.accepted),
            600, "not all ended",
        )  # fmt: skip
        seen = traffic.seen
    assert (len(seen.accepted), seen.count("SUCCESS"), seen.ended_twice) == (jobs, jobs, 0)
    assert set(seen.answers) == {202}
    assert len(images(service)) == jobs, "a request that was retried was drawn once"
    keep_figures(kills=kills, jobs=jobs, requests_cut_off=seen.broken, lost=0, drawn_twice=0)


@pytest.mark.full
def test_redis_without_memory_refuses_and_recovers(make_service: ServiceFactory, keep_figures: Keep) -> None:
    """Given Redis at maxmemory, when jobs run and come, then new ones are 503, running ones end once there is room."""
    service = make_service(workers=1, LOG_FORMAT="json")
    client = redis.Redis.from_url(service.redis_url, decode_responses=True)
    running = service.submit(prompt="a house", H=128, W=128, ddim_steps=60, seed=1, return_base64=True)
    waiting = [service.submit(**TINY, seed=number) for number in range(5)]
    until(lambda: service.get(f"/status/{running}").json()["Progress"] > 0, 120, "it does not begin")
    client.config_set("maxmemory", "1mb")
    refused = [service.post("/generate", TINY).status_code for _ in range(5)]
    read = service.get(f"/status/{running}").status_code
    time.sleep(4)
    client.config_set("maxmemory", "0")
    for job_id in [running, *waiting, service.submit(**TINY)]:
        assert service.wait(job_id, timeout=120).json()["State"] == "SUCCESS"
    assert refused == [503] * 5
    assert read == 200
    assert all(worker.alive for worker in service.workers)
    client.close()
    keep_figures(submits=5, answered_503=5, jobs_before_it=6, lost=0)


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[None]:
    """Put a file system of that size over the folder."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.full
def test_a_full_disk_fails_the_job_by_name_and_serves_the_next(
    make_service: ServiceFactory, keep_figures: Keep
) -> None:
    """Given no room for results, when a job is drawn, then it fails with storage_full; with room, the next is done."""
    if os.geteuid():
        pytest.skip("only root can mount a small file system")
    service = make_service(workers=1)
    with small_disk(service.output_dir, 1):
        filler = service.output_dir / "filler"
        filler.write_bytes(b"x" * (1024 * 1024 - 8192))
        failed = service.wait(service.submit(**TINY | {"H": 128, "W": 128, "seed": 1})).json()
        assert (failed["State"], failed["Error"]["code"]) == ("FAILURE", "storage_full")
        assert images(service) == []
        refused = service.post("/img2img", TINY | {"init_img": _large_image()})
        assert (refused.status_code, refused.json()["code"]) == (507, "storage_full")
        filler.unlink()
        assert service.wait(service.submit(**TINY)).json()["State"] == "SUCCESS"
    keep_figures(failed_with="storage_full", half_files=0, next_job="SUCCESS")


def _large_image() -> str:
    import base64
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.effect_noise((512, 512), 90).convert("RGB").save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()
