"""Workers that are killed, stopped, starved and poisoned: no job is lost, and none is published twice."""

import base64
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.chaos.conftest import FULL, Scale
from tests.chaos.traffic import (
    Clients,
    Crew,
    Event,
    Recovery,
    attended,
    clients,
    events,
    images,
    lasting,
    ready_times,
    recoveries,
    until,
)
from tests.e2e.service import Service

ServiceFactory = Callable[..., Service]
Keep = Callable[..., None]


def kill_workers(
    service: Service,
    crew: Crew,
    traffic: Clients,
    jobs: int,
    kills: int,
    pause_s: float,
    give_up_s: float,
    at_any_time: bool = False,
) -> list[Recovery]:
    """Kill random workers of the crew until so many jobs have ended, each once; tells how long tasks waited for it.

    A worker takes longer to start than a short pause: only `at_any_time` are they killed before all are ready.
    """
    traffic.submit(jobs // 2)
    traffic.submit(jobs - jobs // 2)
    traffic.watch()
    begun = time.monotonic()
    while traffic.submitting or traffic.seen.ended < jobs or len(crew.kills) < kills:
        assert time.monotonic() - begun < give_up_s, f"{traffic.seen.ended} of {jobs} ended"
        time.sleep(pause_s)
        crew.kill_one()
        if not at_any_time:
            crew.wait_ready()
    seen = traffic.seen
    assert (len(seen.accepted), seen.count("SUCCESS"), seen.ended_twice) == (jobs, jobs, 0)
    assert len(images(service)) == jobs, "each job's image, once"
    return recoveries(events(service), crew.kills, ready_times(service))


def test_killed_workers_lose_nothing(make_service: ServiceFactory, scale: Scale, keep_figures: Keep) -> None:
    """Given two workers, when one is killed again and again, then every job ends once, and soon after its kill."""
    jobs, pause_s, kills_at_least, timeout_s = scale((16, 1.0, 1, 4.0), (1000, 5.0, 10, 10.0))
    # a task may meet several of these kills by bad luck; three would end its job, as they should
    service = make_service(workers=2, VISIBILITY_TIMEOUT_S=str(timeout_s), LOG_FORMAT="json", MAX_ATTEMPTS="9")
    crew = Crew(service)
    begun = time.monotonic()
    with clients(service) as traffic:
        give_up_s = scale(180, 1800)
        again = kill_workers(service, crew, traffic, jobs, kills_at_least, pause_s, give_up_s, at_any_time=FULL)
    # a task can only be begun while somebody is there: kills come faster than a worker starts
    slowest_s = max((recovery.attended_s for recovery in again), default=0)
    assert slowest_s <= timeout_s + 5
    keep_figures(
        jobs=jobs, kills=len(crew.kills), lost=0, ended_twice=0, seconds=round(time.monotonic() - begun),
        visibility_timeout_s=timeout_s, tasks_interrupted=len(again),
        slowest_recovery_while_a_worker_was_ready_s=round(slowest_s, 1),
        slowest_recovery_by_the_clock_s=round(max((recovery.seconds for recovery in again), default=0), 1),
    )  # fmt: skip


def test_only_time_with_a_worker_counts() -> None:
    """Given spans in which workers were ready, when a time is measured, then overlaps count once, and gaps not."""
    assert attended(10.0, 20.0, [(12.0, 15.0), (14.0, 16.0), (0.0, 11.0), (19.0, float("inf"))]) == 1 + 4 + 1
    assert attended(10.0, 20.0, []) == 0
    assert attended(10.0, 20.0, [(0.0, float("inf")), (12.0, 13.0)]) == 10


def run_long_job(service: Service, must_take_s: float) -> float:
    """Draw a job that takes longer than `must_take_s`, which begins once and is done once; gives the seconds.

    One that was done sooner shows nothing, since its pace was measured while the machine had more to do: a longer one
    follows it.
    """
    for times in (1, 3, 9):
        job_id = service.submit(**lasting(service, times * must_take_s))
        service.wait(job_id, timeout=600)
        mine = [event for event in events(service) if event.job_id == job_id]
        happened = sum(event.begins for event in mine), sum(event.done for event in mine)
        assert happened == (1, 1), f"not once: {[event.text for event in mine]}"
        if (took_s := mine[-1].time - mine[0].time) > must_take_s:
            return took_s
    raise AssertionError("no job outlasted the timeout, so that this showed nothing")


@pytest.mark.full
def test_a_long_job_runs_once(make_service: ServiceFactory, scale: Scale, keep_figures: Keep) -> None:
    """Given two workers, when a job takes many times the visibility timeout, then it begins once and is done once."""
    timeout_s, times = scale((1.0, 3), (2.0, 10))
    service = make_service(workers=2, VISIBILITY_TIMEOUT_S=str(timeout_s), LOG_FORMAT="json")
    took_s = run_long_job(service, times * timeout_s)
    keep_figures(times_the_visibility_timeout=round(took_s / timeout_s, 1), runs=1)


def freeze_worker(service: Service, seed: int, frozen_s: float) -> None:
    """Stop the worker of a job for so long; then the other's result must stand, alone."""
    job_id = service.submit(prompt="a house", H=128, W=128, ddim_steps=400, seed=seed, return_base64=True)
    until(lambda: service.get(f"/status/{job_id}").json()["Progress"] > 0, 120, "it does not begin")
    name = next(event.worker for event in events(service) if event.job_id == job_id)
    (frozen,) = (worker for worker in service.workers if worker.name == name)
    service.pause(frozen)
    time.sleep(frozen_s)
    service.resume(frozen)
    assert service.wait(job_id, timeout=300).json()["State"] == "SUCCESS"

    def mine() -> list[Event]:
        return [event for event in events(service) if event.job_id == job_id]

    def all_ended() -> bool:
        return sum(event.ends for event in mine()) >= sum(event.begins for event in mine())

    # what the frozen one still had in hand must have come to nothing
    until(all_ended, 120, "the task goes on somewhere")
    assert max(event.attempt for event in mine()) == 2, "the other worker must have taken over"
    assert sum(event.done for event in mine()) == 1, "published twice"


@pytest.mark.full
def test_a_worker_that_was_frozen_publishes_nothing_twice(
    make_service: ServiceFactory, scale: Scale, keep_figures: Keep
) -> None:
    """Given a worker stopped for twice the timeout, when it goes on, then the other's result stands, alone."""
    timeout_s, rounds = 4.0, scale(1, 5)
    service = make_service(workers=2, VISIBILITY_TIMEOUT_S=str(timeout_s), LOG_FORMAT="json")
    for number in range(rounds):
        freeze_worker(service, number, 2 * timeout_s)
    assert len(images(service)) == rounds
    keep_figures(rounds=rounds, frozen_s=2 * timeout_s, results_published=rounds)


@pytest.mark.full
def test_a_poisonous_job_ends_and_the_others_go_on(
    make_service: ServiceFactory, scale: Scale, keep_figures: Keep
) -> None:
    """Given a job that kills its worker every time, when it was tried three times, then it fails with the reason."""
    timeout_s, jobs = 3.0, scale(4, 40)
    service = make_service(workers=0, VISIBILITY_TIMEOUT_S=str(timeout_s), LOG_FORMAT="json", MAX_ATTEMPTS="3")
    service.start_worker("tests.chaos.fragile_worker")
    service.wait_ready()
    crew = Crew(service, "tests.chaos.fragile_worker")
    poison = service.submit(prompt="poison", H=64, W=64, ddim_steps=2)
    with clients(service) as traffic:
        traffic.submit(jobs)
        traffic.watch()

        def ended() -> bool:
            crew.look()
            state = service.get(f"/status/{poison}").json()["State"]
            return state not in ("PENDING", "PROGRESS") and traffic.seen.ended == jobs

        seconds = until(ended, 300, "the poison or the others did not end")
        assert traffic.seen.count("SUCCESS") == jobs
    answer = service.get(f"/status/{poison}").json()
    assert answer["State"] == "FAILURE"
    assert "3 times" in answer["Status"]
    begun = [event.attempt for event in events(service) if event.job_id == poison and event.begins]
    assert begun == [1, 2, 3]
    assert crew.replaced == 3
    keep_figures(attempts=3, workers_killed=crew.replaced, other_jobs=jobs, other_jobs_lost=0, seconds=round(seconds))


@pytest.mark.full
def test_memory_that_runs_out_amid_a_batch_harms_nobody(
    make_service: ServiceFactory, scale: Scale, keep_figures: Keep
) -> None:
    """Given forward passes that overflow when shared, when many ask at once, then each gets the image it gets alone."""
    count = scale(4, 24)
    service = make_service(workers=0)
    service.start_worker("tests.chaos.fragile_worker")
    service.wait_ready()

    def drawn(job_id: str) -> bytes:
        answer = service.wait(job_id, timeout=300).json()
        assert answer["State"] == "SUCCESS", answer
        return base64.b64decode(answer["Image"][0])

    bodies: list[dict[str, Any]] = [
        {"prompt": "huge red circle" if number % 3 == 0 else "a blue square", "seed": number, "H": 64, "W": 64,
         "ddim_steps": 20, "return_base64": True, "skip_grid": True} for number in range(count)
    ]  # fmt: skip
    together = [drawn(job_id) for job_id in [service.submit(**body) for body in bodies]]
    alone = [drawn(service.submit(**body)) for body in bodies]
    assert "trying smaller ones" in service.logs(10_000)[service.workers[0].name], "it must have overflowed"
    differ = sum(one != other for one, other in zip(together, alone, strict=True))
    from tests.images import SAME, decibels, from_base64

    worst = min(
        decibels(from_base64(base64.b64encode(one).decode()), from_base64(base64.b64encode(other).decode()))
        for one, other in zip(together, alone, strict=True)
    )
    assert worst >= SAME
    keep_figures(requests=count, failed=0, images_with_another_byte=differ, worst_psnr_db=min(round(worst, 1), 999.0))


@pytest.mark.full
def test_a_rolling_restart_loses_nothing(make_service: ServiceFactory, scale: Scale, keep_figures: Keep) -> None:
    """Given load, when all workers are replaced one by one with SIGTERM, then no job is lost and none done twice."""
    jobs, rounds = scale((40, 1), (600, 4))
    service = make_service(workers=2, LOG_FORMAT="json", VISIBILITY_TIMEOUT_S="10")
    with clients(service) as traffic:
        traffic.submit(jobs, 0.05)
        traffic.watch()
        for worker in list(service.workers) * 1:
            service.start_worker()
            service.wait_ready(workers=3)
            service.stop(worker, grace_s=60)
        for _ in range(rounds - 1):
            for worker in list(service.workers):
                service.start_worker()
                service.wait_ready(workers=3)
                service.stop(worker, grace_s=60)
        until(lambda: not traffic.submitting and traffic.seen.ended == jobs, 600, "not all ended")
        seen = traffic.seen
    assert (len(seen.accepted), seen.count("SUCCESS"), seen.ended_twice) == (jobs, jobs, 0)
    done = Counter((event.job_id, event.task) for event in events(service) if event.done)
    assert set(done.values()) == {1}
    keep_figures(jobs=jobs, workers_replaced=2 * rounds, lost=0, run_twice=0)


@pytest.mark.full
def test_cancelling_at_any_moment_ends_the_job(make_service: ServiceFactory, scale: Scale, keep_figures: Keep) -> None:
    """Given jobs that wait and run, when each is cancelled at a random moment, then it stops and makes no step more."""
    count = scale(12, 200)
    service = make_service(workers=2, LOG_FORMAT="json")
    client: Any = redis.Redis.from_url(service.redis_url, decode_responses=True)
    late: list[int] = []
    rested: dict[str, int] = {}
    running = 0

    def step(job_id: str) -> int:
        steps = client.hvals(f"{service.key_prefix}steps:{job_id}")
        return max((int(text.split("/")[0]) for text in steps), default=0)

    def ended(job_id: str) -> list[Event]:
        over = ("the task is done", "the task is not continued")
        return [event for event in events(service) if event.job_id == job_id and event.text.startswith(over)]

    def begun(job_id: str) -> list[Event]:
        return [event for event in events(service) if event.job_id == job_id and event.begins]

    def at_rest(job_id: str) -> int:
        """The last step that is told of a job, once every worker that began it has let go of it."""
        until(lambda: len(ended(job_id)) == len(begun(job_id)), 60, f"{job_id} goes on")
        return step(job_id)

    chance = random.Random(5)
    body = lasting(service, 6.0)  # longer than four pauses of the longest kind, alone on its worker
    for _ in range(count // 4):
        ids = [service.submit(**body) for _ in range(4)]
        for job_id in chance.sample(ids, len(ids)):
            time.sleep(chance.uniform(0, 0.6))
            before = step(job_id)
            answer = service.post(f"/cancel/{job_id}").json()
            assert answer["State"] == "REVOKED"
            running += before > 0
            at_cancel = step(job_id)
            rested[job_id] = at_rest(job_id)
            late.append(rested[job_id] - at_cancel)
            assert service.get(f"/status/{job_id}").json()["State"] == "REVOKED"
    service.wait(service.submit(prompt="a tree", H=64, W=64, ddim_steps=2))
    assert all(len(ended(job_id)) == len(begun(job_id)) for job_id in rested), "no task goes on, and none is stuck"
    assert {job_id: step(job_id) for job_id in rested} == rested, "a step came later"
    assert service.get("/ready").json()["waiting"] == 0
    client.close()
    keep_figures(cancelled=len(late), of_them_running=running, most_steps_after_it=max(late), steps_later=0, stuck=0)
