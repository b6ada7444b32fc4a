"""What the job records are told of tasks under way, with a real Redis."""

import base64
import io
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest
import redis
from PIL import Image

from shared.jobs.records import Claim, Progress
from shared.jobs.signals import Objection
from shared.jobs.store import JobStore
from tests.conftest import Clock
from tests.worker.jobs.conftest import request_of
from worker.jobs import progress
from worker.jobs.progress import Reporter, TaskProgress

Follow = Callable[..., TaskProgress]


class NotedJobs(JobStore):
    """Keeps what is reported, and calls `meanwhile` before each report."""

    def __init__(self, client: Any) -> None:
        super().__init__(client, "test:", lease_s=60)
        self.reports: list[dict[str, Progress]] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self._report = self.progress.report
        vars(self.progress)["report"] = self._noted

    def _noted(self, progress: Mapping[Claim, Progress]) -> dict[Claim, Objection]:
        self.meanwhile()
        self.reports.append({claim.job_id: each for claim, each in progress.items()})
        return self._report(progress)


@pytest.fixture
def jobs(redis_client: Any) -> NotedJobs:
    return NotedJobs(redis_client)


@pytest.fixture
def reporter(jobs: NotedJobs, clock: Clock) -> Iterator[Reporter]:
    """One whose thread does not run; it may be started."""
    reporter = Reporter(jobs, clock)
    yield reporter
    reporter.stop()


@pytest.fixture
def ended() -> list[tuple[str, str]]:
    """Which tasks were ended, by their jobs, and by what."""
    return []


@pytest.fixture
def follow(jobs: NotedJobs, reporter: Reporter, ended: list[tuple[str, str]]) -> Iterator[Follow]:
    """Begin a task of a new job, and report on it until the end of the test."""
    with ExitStack() as stack:

        def begin(job_id: str, **changes: Any) -> TaskProgress:
            jobs.accept(job_id, request_of(**changes))
            claim = jobs.claims.claim(job_id, 0)
            assert claim
            return stack.enter_context(
                reporter.follow(claim, lambda error: ended.append((job_id, type(error).__name__)))
            )

        yield begin


def image(colour: str, width: int = 16, height: int = 8) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def test_the_newest_of_every_task_is_sent_together(jobs: NotedJobs, reporter: Reporter, follow: Follow) -> None:
    """Given two tasks that made several steps since the last report, when it is time for the next, then it tells where
    both are now, and none follows until there is something new."""
    tasks = [follow("a"), follow("b")]
    for step in (1, 2, 3):
        for task in tasks:
            task.of_sample(0)(step, 20)
    assert reporter.send()
    assert reporter.send()
    assert jobs.reports == [{"a": Progress(3, 20), "b": Progress(3, 20)}]
    tasks[1].of_sample(0)(4, 20)
    reporter.send()
    assert jobs.reports[1:] == [{"b": Progress(4, 20)}]
    assert [jobs.get(job_id).step for job_id in "ab"] == [3, 4]


def test_the_samples_of_a_task_are_summed(jobs: NotedJobs, reporter: Reporter, follow: Follow) -> None:
    """Given a task of three samples, when two have begun, then the third counts as many steps as the longer one."""
    task = follow("j", n_samples=3)
    task.of_sample(0)(2, 20)
    task.of_sample(2)(1, 10)
    reporter.send()
    assert jobs.reports == [{"j": Progress(3, 50)}]


def test_a_report_renews_the_lease(jobs: NotedJobs, reporter: Reporter, follow: Follow) -> None:
    """Given a task whose lease has run out, when it makes a step, then the report sets the lease anew."""
    task = follow("j")
    (lease,) = jobs.redis.scan_iter("test:lease:*")
    jobs.redis.delete(lease)
    task.of_sample(0)(1, 20)
    reporter.send()
    assert jobs.redis.pttl(lease) > 30_000


def test_what_must_not_go_on_is_ended(
    jobs: NotedJobs, reporter: Reporter, follow: Follow, ended: list[tuple[str, str]]
) -> None:
    """Given three tasks, when one's job is cancelled and another's task taken over, then each ends with its reason, and
    the third goes on."""
    tasks = [follow("cancelled"), follow("lost"), follow("fine")]
    jobs.cancel("cancelled")
    for lease in jobs.redis.scan_iter("test:lease:lost:*"):
        jobs.redis.delete(lease)
    assert jobs.claims.claim("lost", 0)
    for task in tasks:
        task.of_sample(0)(1, 20)
    reporter.send()
    assert sorted(ended) == [("cancelled", "JobCancelled"), ("lost", "LeaseLost")]


@pytest.mark.parametrize(
    "away", [redis.ConnectionError("away"), redis.TimeoutError("hangs"), redis.ResponseError("MISCONF disk full")]
)
def test_while_redis_is_away_nothing_is_lost_but_what_is_old(
    jobs: NotedJobs, reporter: Reporter, follow: Follow, ended: list[tuple[str, str]], away: redis.RedisError
) -> None:
    """Given a Redis that is away, when it is back, then the newest step and the newest preview are told, and no task
    has ended."""
    task = follow("j")

    def fail() -> None:
        raise away

    jobs.meanwhile = fail
    for step in (1, 2):
        task.of_sample(0)(step, 20)
        task.show(image("red" if step == 1 else "blue"))
        assert not reporter.send()
    jobs.meanwhile = lambda: None
    assert reporter.send()
    (told,) = jobs.reports
    assert (told["j"].step, colour_of(jobs.progress.preview("j"))) == (2, "blue")
    assert ended == []


def colour_of(preview: str | None) -> str:
    assert preview
    with Image.open(io.BytesIO(base64.b64decode(preview))) as small:
        pixel = small.getpixel((5, 5))
    assert isinstance(pixel, tuple)
    return "red" if pixel[0] > pixel[2] else "blue"


def test_a_record_that_cannot_be_written_ends_its_task_alone(
    jobs: NotedJobs, reporter: Reporter, follow: Follow, ended: list[tuple[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    """Given a task whose record is broken, when it and another are reported, then it ends by an internal error, and
    the other's progress is told."""
    for job_id in ("broken", "fine"):
        follow(job_id).of_sample(0)(1, 20)
    jobs.redis.set("test:steps:broken", "no hash")
    assert reporter.send()
    assert ended == [("broken", "InternalError")]
    assert jobs.get("fine").step == 1
    assert "cannot be told" in caplog.text


def test_previews_are_small_and_not_too_many(jobs: NotedJobs, reporter: Reporter, follow: Follow, clock: Clock) -> None:
    """Given a preview with every step, when a second has not passed, then only the step is told; after it the newest
    preview, a JPEG of 128 pixels."""
    task = follow("j")
    for step, colour in enumerate(("red", "red", "blue"), start=1):
        task.of_sample(0)(step, 20)
        task.show(image(colour))
        reporter.send()
    assert [report["j"].preview is None for report in jobs.reports] == [False, True, True]
    assert colour_of(jobs.progress.preview("j")) == "red"
    clock.now += 1
    reporter.send()
    assert colour_of(jobs.progress.preview("j")) == "blue"
    with Image.open(io.BytesIO(base64.b64decode(jobs.progress.preview("j") or ""))) as small:
        assert (small.format, small.size) == ("JPEG", (128, 64))


def test_the_engine_waits_for_nothing(
    jobs: NotedJobs, reporter: Reporter, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a Redis that hangs, when the engine reports steps and previews, then it goes on at once; when Redis answers
    again, the newest is told. The preview is encoded on the reporter's thread."""
    hangs, answers, encoded_by = threading.Event(), threading.Event(), []
    encode = progress._jpeg

    def noted(small: Image.Image) -> bytes:
        encoded_by.append(threading.current_thread().name)
        return encode(small)

    monkeypatch.setattr(progress, "_jpeg", noted)

    def hang() -> None:
        hangs.set()
        answers.wait(30)

    jobs.meanwhile = hang
    task = follow("j")
    reporter.start()
    task.of_sample(0)(1, 200)
    assert hangs.wait(30)
    for step in range(2, 101):
        task.of_sample(0)(step, 200)
        task.show(image("red"))
    assert jobs.reports == []
    answers.set()
    until(lambda: jobs.get("j").step == 100 and jobs.progress.preview("j"))
    assert [report["j"].step for report in jobs.reports][:2] == [1, 100]
    assert set(encoded_by) == {"reporter"}


def test_a_task_that_has_ended_is_reported_no_more(jobs: NotedJobs, reporter: Reporter) -> None:
    """Given a step that was not told yet, when the task ends, then it is not told any more."""
    jobs.accept("j", request_of())
    claim = jobs.claims.claim("j", 0)
    assert claim
    with reporter.follow(claim, lambda _error: None) as task:
        task.of_sample(0)(1, 20)
    assert reporter.send()
    assert jobs.reports == []


def test_a_fault_does_not_end_the_thread(
    jobs: NotedJobs,
    reporter: Reporter,
    follow: Follow,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Given a preview that cannot be encoded, when it can, then the progress is told."""
    faults = iter([MemoryError("no room")])
    encode = progress._jpeg

    def failing(small: Image.Image) -> bytes:
        for fault in faults:
            raise fault
        return encode(small)

    monkeypatch.setattr(progress, "_AWAY_PAUSE_S", 0.01)
    monkeypatch.setattr(progress, "_jpeg", failing)
    task = follow("j")
    task.show(image("red"))
    reporter.start()
    until(lambda: jobs.progress.preview("j"))
    assert "tried again" in caplog.text


def test_who_comes_later_sees_previews_too(jobs: NotedJobs, reporter: Reporter, follow: Follow, clock: Clock) -> None:
    """Given tasks under way whose previews nobody wants, when somebody asks for one's, then previews of that job are
    wanted within a second, and no others."""
    tasks = {job_id: follow(job_id) for job_id in "ab"}
    reporter.send()
    jobs.progress.preview("a")
    clock.now += 1
    reporter.send()
    assert {job_id: task.wants_preview() for job_id, task in tasks.items()} == {"a": True, "b": False}


def test_without_redis_previews_are_as_they_were(
    jobs: NotedJobs, reporter: Reporter, follow: Follow, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given previews that are wanted, when Redis cannot say whether they still are, then they are made, and the steps
    are told."""
    task = follow("j")
    jobs.progress.preview("j")
    clock.now += 1
    reporter.send()

    def away(_: object) -> None:
        raise redis.ConnectionError("away")

    monkeypatch.setattr(jobs.events, "viewed", away)
    clock.now += 1
    task.of_sample(0)(1, 20)
    assert reporter.send()
    assert task.wants_preview()
    with reporter.follow(task.claim, lambda _error: None) as other:
        assert not other.wants_preview()
