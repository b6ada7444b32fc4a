"""A task from its message to its images, with a real Redis and an engine that draws plain colours."""

import base64
import io
import json
from typing import Any

import pytest
import redis
from PIL import Image

from shared.errors import InternalError, JobCancelled, ModelUnavailable, OutOfMemory
from shared.histograms import QUEUE_WAIT, STAGE
from shared.jobs.records import Claim, State, TaskRef
from shared.jobs.signals import TaskBusy, WorkerFailed, WorkerStopping
from shared.jobs.store import JobStore
from shared.storage.results import ResultStore
from tests.worker.jobs.conftest import FakeEngine, colours, request_of
from worker.engine import Ticket
from worker.jobs.runner import TaskRunner
from worker.observations import Observations


def test_tasks_make_the_images_of_their_seeds(runner: TaskRunner, jobs: JobStore, results: ResultStore) -> None:
    """Given 2 tasks of 2, when both are run, then the job succeeds with images of the seeds 10 to 13."""
    jobs.accept("j", request_of(n_iter=2, n_samples=2))
    runner.run(TaskRef("j", 1))
    assert jobs.get("j").state is State.PROGRESS
    runner.run(TaskRef("j", 0))
    job = jobs.get("j")
    assert job.state is State.SUCCESS
    assert [image.seed for image in job.images] == [10, 11, 12, 13]
    assert colours(results, "kept/j", [image.name for image in job.images]) == [10, 11, 12, 13]
    assert job.tasks[0].used == {"device": "cpu"}
    assert job.tasks[0].warnings == ("a warning",)


def test_images_are_stored_at_the_size_and_quality_asked_for(
    runner: TaskRunner, jobs: JobStore, results: ResultStore
) -> None:
    """Given an output size and a quality, when a task runs, then its images have that size and say so."""
    sizes = {}
    for quality in (5, 95):
        jobs.accept(
            f"j{quality}",
            request_of(format="jpg", output_width=150, output_height=100, output_compression=quality),
        )
        assert runner.run(TaskRef(f"j{quality}", 0))
        [image] = jobs.get(f"j{quality}").images
        data = results.read("kept/" + f"j{quality}", image.name)
        sizes[quality] = len(data)
        with Image.open(io.BytesIO(data)) as opened:
            assert opened.size == (150, 100)
    assert sizes[5] < sizes[95]


def test_waits_and_the_storing_of_images_are_counted(jobs: JobStore, results: ResultStore, engine: FakeEngine) -> None:
    """Given a job of 2 tasks of 2, when both are run, then it has waited once, and each of four images was stored."""
    observations = Observations()
    runner = TaskRunner(jobs, results, engine, observations=observations)
    jobs.accept("j", request_of(n_iter=2, n_samples=2))
    for number in (0, 1):
        runner.run(TaskRef("j", number))

    told = observations.report()

    (waits,), (storing,) = told[QUEUE_WAIT.name], told[STAGE.name]
    assert (waits.labels, sum(waits.counts.values())) == ({"model": "demo"}, 1)
    assert (storing.labels, sum(storing.counts.values())) == ({"model": "demo", "stage": "storing"}, 4)


def test_a_task_that_ran_before_changes_nothing(runner: TaskRunner, jobs: JobStore, engine: FakeEngine) -> None:
    """Given a finished job, when its message comes again, then the engine is not asked and the record is the same."""
    jobs.accept("j", request_of())
    runner.run(TaskRef("j", 0))
    before = jobs.get("j")
    runner.run(TaskRef("j", 0))
    assert jobs.get("j") == before
    assert len(engine.requests) == 1


def test_fixed_code_shares_the_starting_noise_only(runner: TaskRunner, jobs: JobStore, engine: FakeEngine) -> None:
    """Given fixed_code, when 2 images are made, then their noise seeds are equal and their step seeds are not."""
    jobs.accept("j", request_of(n_samples=2, fixed_code=True))
    runner.run(TaskRef("j", 0))
    assert [request.noise_seed for request in engine.requests] == [10, 10]
    assert [request.step_seed for request in engine.requests] == [10, 11]


def test_a_receipt_remakes_its_image_also_where_the_noise_is_fixed(
    runner: TaskRunner, jobs: JobStore, results: ResultStore, engine: FakeEngine
) -> None:
    """Given images that start from the same noise, when each receipt is asked for, then its seeds are the same."""
    jobs.accept("j", request_of(n_iter=2, n_samples=2, fixed_code=True))
    for task in (0, 1):
        runner.run(TaskRef("j", task))
    asked = [(request.noise_seed, request.step_seed) for request in engine.requests]
    assert asked == [(10, 10), (10, 11), (10, 12), (10, 13)]
    for number, image in enumerate(jobs.get("j").images):
        stored = Image.open(io.BytesIO(results.read("kept/j", image.name)))
        receipt = json.loads(stored.info["personal_diffusion"])
        assert (image.seed, receipt["seed"]) == (10 + number, 10 + number)
        again = request_of(seed=receipt["seed"], noise_seed=receipt["noise_seed"])
        assert (again.noise_seed_of(0, 0), again.seed_of(0, 0)) == asked[number]


def test_a_noise_seed_is_that_of_every_image(runner: TaskRunner, jobs: JobStore, engine: FakeEngine) -> None:
    """Given a noise seed, when 2 images are made, then both start from it and go on with their own."""
    jobs.accept("j", request_of(n_samples=2, noise_seed=99))
    runner.run(TaskRef("j", 0))
    assert [(request.noise_seed, request.step_seed) for request in engine.requests] == [(99, 10), (99, 11)]


@pytest.mark.parametrize(
    ("raised", "code"),
    [(OutOfMemory("too big"), "out_of_memory"), (RuntimeError("secret detail"), "internal_error")],
)
def test_an_error_ends_the_job_with_its_reason(
    runner: TaskRunner, jobs: JobStore, engine: FakeEngine, raised: Exception, code: str
) -> None:
    """Given an engine that fails, when the task runs, then the job is a FAILURE with a stable code and no details."""
    jobs.accept("j", request_of(n_samples=2))
    engine.errors = [None, raised]
    runner.run(TaskRef("j", 0))
    job = jobs.get("j")
    assert job.state is State.FAILURE
    assert job.error
    assert job.error.code == code
    assert "secret" not in job.error.message


def test_a_cancelled_job_stops_at_the_next_step(runner: TaskRunner, jobs: JobStore, engine: FakeEngine) -> None:
    """Given a job cancelled after its first step, when the next step is reported, then it ends REVOKED, unstored."""
    jobs.accept("j", request_of(steps=50))
    messages = []

    def cancel_once() -> None:
        messages.append(1)
        if len(messages) == 2:
            jobs.cancel("j")

    engine.before_result = cancel_once
    runner.run(TaskRef("j", 0))
    assert jobs.get("j").state is State.REVOKED
    assert jobs.get("j").images == ()
    assert len(messages) == 2


def test_a_worker_that_was_given_up_changes_nothing(runner: TaskRunner, jobs: JobStore, engine: FakeEngine) -> None:
    """Given a task that another attempt took over, when the old one goes on, then it stops and the new one counts."""
    jobs.accept("j", request_of())
    taken: list[Claim] = []

    def take_over() -> None:
        if not taken:
            claim = jobs.claims.claim("j", 0)
            assert claim is not None
            taken.append(claim)

    engine.before_result = take_over
    runner.run(TaskRef("j", 0))
    job = jobs.get("j")
    assert job.state is State.PROGRESS
    assert job.tasks[0].token == taken[0].token
    assert not job.tasks[0].done


def test_a_stopping_worker_gives_the_task_back_uncounted(
    runner: TaskRunner, jobs: JobStore, engine: FakeEngine
) -> None:
    """Given a worker that shuts down, when its task is interrupted, then the task waits again with no attempt
    counted."""
    jobs.accept("j", request_of())
    engine.errors = [WorkerStopping("stopping")]
    with pytest.raises(WorkerStopping):
        runner.run(TaskRef("j", 0))
    assert jobs.get("j").tasks[0].attempt == 0
    runner.run(TaskRef("j", 0))
    assert jobs.get("j").state is State.SUCCESS


def test_a_task_whose_worker_failed_amid_it_is_given_back_and_counted(
    runner: TaskRunner, jobs: JobStore, engine: FakeEngine
) -> None:
    """Given a worker whose device breaks, when that has happened as often as is allowed, then the job ends, not before;
    each time the task waits again at once."""
    jobs.accept("j", request_of())
    for attempt in (1, 2):
        engine.errors = [WorkerFailed("broken")]
        with pytest.raises(WorkerStopping):
            runner.run(TaskRef("j", 0))
        task = jobs.get("j").tasks[0]
        assert (task.state, task.attempt, task.token) == ("queued", attempt, "")
    runner.run(TaskRef("j", 0))
    error = jobs.get("j").error
    assert error
    assert error.code == "attempts_exhausted"


def test_redis_going_away_for_a_while_loses_no_work(
    runner: TaskRunner, jobs: JobStore, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given Redis fails during the steps and at the end, when it is back, then the task is marked done."""
    jobs.accept("j", request_of())
    failures = iter(
        [redis.ConnectionError("away"), redis.TimeoutError("away"), redis.exceptions.OutOfMemoryError("full")]
    )
    real = jobs.claims.finish

    def flaky(*args: Any) -> bool:
        for failure in failures:
            raise failure
        return real(*args)

    def no_progress(*_: Any) -> None:
        raise redis.ConnectionError("away")

    monkeypatch.setattr(jobs.claims, "finish", flaky)
    monkeypatch.setattr(jobs.progress, "report", no_progress)
    monkeypatch.setattr("worker.jobs.patience._RETRY_S", 0.001)
    runner.run(TaskRef("j", 0))
    assert jobs.get("j").state is State.SUCCESS


def test_redis_that_fails_over_loses_no_work(
    runner: TaskRunner, jobs: JobStore, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a Redis that is a replica for a moment or cannot write to its disk, when it can, then the task is done."""
    jobs.accept("j", request_of())
    failures = iter([redis.exceptions.ReadOnlyError("replica"), redis.ResponseError("MISCONF cannot persist to disk")])
    real = jobs.claims.finish

    def flaky(*args: Any) -> bool:
        for failure in failures:
            raise failure
        return real(*args)

    def no_progress(*_: Any) -> None:
        raise redis.exceptions.ReadOnlyError("replica")

    monkeypatch.setattr(jobs.claims, "finish", flaky)
    monkeypatch.setattr(jobs.progress, "report", no_progress)
    monkeypatch.setattr("worker.jobs.patience._RETRY_S", 0.001)
    runner.run(TaskRef("j", 0))
    assert jobs.get("j").state is State.SUCCESS
    assert len(engine.requests) == 1


def test_an_engine_that_refuses_ends_the_job(
    runner: TaskRunner, jobs: JobStore, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given submit raises, when the task runs, then the job fails with that reason and nothing is left running."""

    def refuse(*_: Any) -> Ticket:
        raise InternalError("no")

    monkeypatch.setattr(engine, "submit", refuse)
    jobs.accept("j", request_of())
    runner.run(TaskRef("j", 0))
    error = jobs.get("j").error
    assert error is not None
    assert error.message == "no"
    assert not isinstance(error, JobCancelled)


def test_a_message_delivered_twice_waits_for_the_living_attempt(redis_client: Any, results: ResultStore) -> None:
    """Given a task in progress with a fresh lease, when its message comes again, then TaskBusy and no second
    attempt."""
    engine = FakeEngine()
    jobs = JobStore(redis_client, "test:", lease_s=60)
    runner = TaskRunner(jobs, results, engine)
    jobs.accept("j", request_of())
    claim = jobs.claims.claim("j", 0)
    assert claim
    with pytest.raises(TaskBusy):
        runner.run(TaskRef("j", 0))
    assert jobs.get("j").tasks[0].attempt == 1
    redis_client.delete(f"test:lease:j:0:{claim.token}")
    runner.run(TaskRef("j", 0))
    assert jobs.get("j").state is State.SUCCESS
    assert jobs.get("j").tasks[0].attempt == 2


def test_the_beat_renews_the_lease_of_tasks_in_progress(redis_client: Any, results: ResultStore) -> None:
    """Given a task whose lease is running out, when the runner renews, then it lasts again; after the task, no more."""
    engine = FakeEngine()
    jobs = JobStore(redis_client, "test:", lease_s=60)
    runner = TaskRunner(jobs, results, engine)
    jobs.accept("j", request_of(steps=1))

    def run_out_and_renew() -> None:
        (lease,) = redis_client.scan_iter("test:lease:*")
        redis_client.pexpire(lease, 100)
        runner.renew()
        assert redis_client.pttl(lease) > 1000

    engine.before_result = run_out_and_renew
    runner.run(TaskRef("j", 0))
    assert jobs.get("j").state is State.SUCCESS
    redis_client.flushdb()
    runner.renew()
    assert redis_client.keys("test:lease:*") == []


def test_what_must_not_go_on_is_ended_also_while_it_waits(
    runner: TaskRunner, jobs: JobStore, engine: FakeEngine
) -> None:
    """Given tasks in hand that make no step, when one job is cancelled and watched, then its tickets end, no others."""
    watched: list[list[type]] = []

    def cancel_and_watch() -> None:
        if len(engine.tickets) == 2:
            jobs.cancel("j")
            runner.watch()
            watched.append([type(ticket.ending) for ticket in engine.tickets])

    engine.before_result = cancel_and_watch
    jobs.accept("j", request_of(n_samples=2, steps=1))
    runner.run(TaskRef("j", 0))
    assert watched == [[JobCancelled, JobCancelled]]
    assert jobs.get("j").state is State.REVOKED


def test_a_task_waits_for_its_model_and_tells_how_much_is_here(
    runner: TaskRunner, jobs: JobStore, engine: FakeEngine
) -> None:
    """Given an engine that fetches the model first, when a task runs, then its job tells the percentages on the way."""
    engine.downloaded = [7, 43]
    seen: list[int | None] = []
    engine.before_result = lambda: seen.append(jobs.get("j").download)
    jobs.accept("j", request_of(steps=2))
    runner.run(TaskRef("j", 0))
    assert seen == [7, 43, 43, None]
    assert jobs.get("j").state is State.SUCCESS


def test_a_job_cancelled_during_the_download_is_not_drawn(
    runner: TaskRunner, jobs: JobStore, engine: FakeEngine
) -> None:
    """Given a download under way, when the job is cancelled, then nothing is submitted to the engine."""
    engine.downloaded = [7, 8]
    engine.before_result = lambda: jobs.cancel("j")
    jobs.accept("j", request_of(steps=2))
    runner.run(TaskRef("j", 0))
    assert jobs.get("j").state is State.REVOKED
    assert engine.requests == []


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_model_that_only_another_worker_has_is_left_to_it(
    redis_client: Any, results: ResultStore, elsewhere: bool
) -> None:
    """Given a worker without the model, when it gets a task, then another that has it gets the task, else it fails."""
    engine, jobs = FakeEngine(), JobStore(redis_client, "test:")
    engine.errors = [ModelUnavailable("It is not here.")]
    runner = TaskRunner(jobs, results, engine, lambda _request: elsewhere)
    jobs.accept("j", request_of(steps=1))
    if elsewhere:
        with pytest.raises(TaskBusy):
            runner.run(TaskRef("j", 0))
        assert jobs.get("j").tasks[0].attempt == 0
        assert jobs.get("j").state is not State.FAILURE
    else:
        runner.run(TaskRef("j", 0))
        error = jobs.get("j").error
        assert error
        assert (error.code, error.message) == ("model_unavailable", "It is not here.")


@pytest.mark.parametrize("why", [WorkerStopping("stopping"), WorkerFailed("broken")])
def test_a_task_that_is_given_back_is_the_next_one(leasing: JobStore, results: ResultStore, why: Exception) -> None:
    """Given a task amid which its worker ends, when it is given back, then any message means it, before the others."""
    engine = FakeEngine()
    engine.errors = [why]
    for name in ("first", "second"):
        leasing.accept(name, request_of(steps=1))
    with pytest.raises(WorkerStopping):
        TaskRunner(leasing, results, engine).run_next("message", "any")
    assert leasing.backlog.taken() == []
    assert leasing.claims.take("other message", "any") == TaskRef("first", 0)


def test_a_worker_that_lacks_a_file_goes_on_with_other_tasks(leasing: JobStore, results: ResultStore) -> None:
    """Given a task for which another worker has the file, when this one refuses it, then it does the next."""
    engine = FakeEngine()
    engine.errors = [ModelUnavailable("It is not here.")]
    runner = TaskRunner(leasing, results, engine, lambda _request: True)
    for name in ("first", "second"):
        leasing.accept(name, request_of(steps=1))
    with pytest.raises(TaskBusy):
        runner.run_next("message", "any")
    assert runner.run_next("other message", "any")
    assert [leasing.get(name).state for name in ("first", "second")] == [State.PROGRESS, State.SUCCESS]


def test_a_task_that_a_living_worker_has_stays_with_it(leasing: JobStore, results: ResultStore) -> None:
    """Given a task under way, when its message comes to a second worker, then that one leaves it alone."""
    leasing.accept("j", request_of(steps=1))
    leasing.claims.take("message", "any")
    claim = leasing.claims.claim("j", 0, "message")
    assert claim
    held = leasing.backlog.taken()
    with pytest.raises(TaskBusy):
        TaskRunner(leasing, results, FakeEngine()).run_next("message", "any")
    assert (leasing.backlog.taken(), leasing.backlog.tasks_waiting("any")) == (held, 0)
    assert leasing.claims.finish(claim, [], {}, [])


def test_a_running_job_has_a_preview(runner: TaskRunner, jobs: JobStore, engine: FakeEngine) -> None:
    """Given a job under way whose preview somebody asked for, when a step is done, then a small JPEG of the image can
    be read, but not before."""
    previews: list[str | None] = []
    jobs.progress.preview("j")
    engine.before_result = lambda: previews.append(jobs.progress.preview("j"))
    jobs.accept("j", request_of(width=128, height=64, steps=2))
    runner.run(TaskRef("j", 0))
    assert previews[0] is None
    assert previews[1]
    with Image.open(io.BytesIO(base64.b64decode(previews[1]))) as small:
        assert (small.format, small.size) == ("JPEG", (128, 64))


def test_a_preview_that_nobody_wants_to_see_is_not_made(runner: TaskRunner, jobs: JobStore, engine: FakeEngine) -> None:
    """Given a job whose previews nobody asked for, when it runs, then none is made."""
    jobs.accept("j", request_of(steps=5))
    runner.run(TaskRef("j", 0))
    assert jobs.get("j").state is State.SUCCESS
    assert not engine.tickets[0].wants_preview()
    assert list(jobs.redis.scan_iter("test:preview:*")) == []


@pytest.fixture
def leasing(redis_client: Any) -> JobStore:
    return JobStore(redis_client, "test:", lease_s=60)


def take_over(jobs: JobStore, message: str) -> None:
    """What a second worker does with the message of a first one that was frozen."""
    for lease in jobs.redis.scan_iter("test:lease:*"):
        jobs.redis.delete(lease)
    assert jobs.claims.claim("j", 0, message)


def test_a_message_is_left_to_whoever_took_its_task_over(leasing: JobStore, results: ResultStore) -> None:
    """Given a worker that was frozen, when it learns that another has its task, then it neither keeps nor ends it."""
    engine = FakeEngine()
    runner = TaskRunner(leasing, results, engine)
    leasing.accept("j", request_of(steps=1))
    taken_over: list[bool] = []

    def freeze() -> None:
        if not taken_over:
            take_over(leasing, "message")
            taken_over.append(True)

    engine.before_result = freeze
    assert runner.run_next("message", "any") is False
    (held,) = leasing.backlog.taken()
    assert held.token == leasing.get("j").tasks[0].token


def test_a_task_that_is_done_lets_its_message_go(leasing: JobStore, results: ResultStore) -> None:
    """Given a task, when it is done, cancelled or not there, then its message may be acknowledged and holds nothing."""
    engine = FakeEngine()
    runner = TaskRunner(leasing, results, engine)
    assert runner.run_next("message", "any")
    leasing.accept("j", request_of(steps=1))
    assert runner.run_next("message", "any")
    leasing.accept("k", request_of(steps=1))
    engine.before_result = lambda: leasing.cancel("k")
    assert runner.run_next("message", "any")
    assert leasing.backlog.taken() == []


@pytest.mark.parametrize("what", ["cancelled", "taken over"])
@pytest.mark.parametrize("raised", [WorkerStopping("stopping"), ModelUnavailable("not here")])
def test_a_task_that_cannot_be_given_back_is_told_to_nobody(
    leasing: JobStore, results: ResultStore, what: str, raised: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a task whose job ended or that another took over, when a worker gives it back, then nothing is raised."""
    engine = FakeEngine()
    engine.errors = [raised]
    runner = TaskRunner(leasing, results, engine, lambda _request: True)
    leasing.accept("j", request_of(steps=1))
    done: list[bool] = []

    def meanwhile() -> None:
        if not done:
            done.append(True)
            if what == "cancelled":
                leasing.cancel("j")
            else:
                take_over(leasing, "message")

    submit = engine.submit

    def submit_late(*args: Any) -> Ticket:
        meanwhile()
        return submit(*args)

    monkeypatch.setattr(engine, "submit", submit_late)
    assert runner.run_next("message", "any") is (what == "cancelled")


def test_tasks_of_models_that_others_have_are_left_to_them(leasing: JobStore, results: ResultStore) -> None:
    """Given a worker without the first task's model, when called, then it does the next, in order; then it is busy."""
    for name, model in (("first", "big"), ("second", "demo"), ("third", "demo")):
        leasing.accept(name, request_of(steps=1, model=model))
    engine = FakeEngine()
    runner = TaskRunner(leasing, results, engine, left_to_others=lambda _variant: {"big"})
    for number in range(2):
        assert runner.run_next(f"message {number}", "any")
    assert [leasing.get(name).state for name in ("second", "third")] == [State.SUCCESS] * 2
    with pytest.raises(TaskBusy):
        runner.run_next("message", "any")
    assert leasing.backlog.taken() == []
    assert (leasing.get("first").state, leasing.get("first").tasks[0].attempt) == (State.PENDING, 0)
    assert leasing.claims.take("message", "any") == TaskRef("first", 0)
    with pytest.raises(TaskBusy):
        runner.run_next("message", "any")
    assert leasing.backlog.taken() == []
    assert leasing.claims.take("message of one that has the model", "any") == TaskRef("first", 0)
