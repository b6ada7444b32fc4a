"""How far the tasks of this worker are, and what they are becoming: told to the job records by a thread of its own.

The engine's thread makes the steps of everybody, so it waits for nothing here: it puts what is new into its place, over
what was there. The reporter sends the newest of all tasks together, some times a second, however slow Redis is.
"""

import io
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import redis
from PIL import Image

from shared.errors import InternalError
from shared.jobs.records import Claim, Progress
from shared.jobs.signals import Objection
from shared.jobs.store import JobStore
from shared.logs import about_job
from shared.redis.errors import passes
from worker.engine import OnStep

log = logging.getLogger(__name__)

_PAUSE_S = 0.1
_AWAY_PAUSE_S = 1.0
_LEAVE_S = 5.0
_PREVIEW_PAUSE_S = 1.0
_LOOK_PAUSE_S = 1.0
_PREVIEW_SIDE = 128  # pixels


@dataclass(frozen=True)
class _State:
    """Step and steps of each sample of a task, and the latest small image of the first."""

    samples: tuple[tuple[int, int], ...]
    image: Image.Image | None


class TaskProgress:
    """The newest that the engine said of one task."""

    def __init__(self, claim: Claim, end: Callable[[Objection], None], wake: Callable[[], None]) -> None:
        """`end` ends the task with an error; `wake` is called when there is something new."""
        self.claim = claim
        self.end = end
        self._wake = wake
        self._samples = [(0, 0)] * claim.request.n_samples
        self._image: Image.Image | None = None
        self._offered = self._told = _State(tuple(self._samples), None)
        self._next_preview = 0.0
        self.is_viewed = False
        """Whether somebody wants to see previews."""

    def of_sample(self, sample: int) -> OnStep:
        """What the engine calls after each step of one of the task's samples."""

        def on_step(step: int, steps: int) -> None:
            self._samples[sample] = step, steps
            self._wake()

        return on_step

    def wants_preview(self) -> bool:
        """Whether a preview is worth making."""
        return self.is_viewed

    def show(self, small: Image.Image) -> None:
        """Take a small image of what the first sample is becoming."""
        self._image = small
        self._wake()

    def news(self, now: float) -> Progress | None:
        """What was not told yet, with a preview once a second at most; None: nothing."""
        due = now >= self._next_preview
        newest = _State(tuple(self._samples), self._image if due else self._told.image)
        if newest.samples == self._told.samples and newest.image is self._told.image:
            return None
        self._offered = newest
        preview = None if newest.image is None or newest.image is self._told.image else _jpeg(newest.image)
        longest = max(steps for _, steps in newest.samples)
        step, steps = (sum(each) for each in zip(*((step, of or longest) for step, of in newest.samples), strict=True))
        return Progress(step, steps, preview)

    def told(self, now: float) -> None:
        """The last `news` have arrived."""
        if self._offered.image is not self._told.image:
            self._next_preview = now + _PREVIEW_PAUSE_S
        self._told = self._offered


class Reporter:
    """The thread that reports on the tasks in hand. Safe to use from many threads at once."""

    def __init__(self, jobs: JobStore, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds."""
        self._jobs = jobs
        self._clock = clock
        self._lock = threading.Lock()
        self._tasks: list[TaskProgress] = []
        self._look_at = 0.0
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Report no more, and wait a moment for a report that is under way; the process ends without it."""
        self._stopping.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(_LEAVE_S)

    @contextmanager
    def follow(self, claim: Claim, end: Callable[[Objection], None]) -> Iterator[TaskProgress]:
        """Report on a task while the block runs.

        `end(error)` is called, on the reporter's thread, when the task must not go on: with LeaseLost, JobCancelled,
        DeadlineExceeded, or an InternalError where its record cannot be written.
        """
        task = TaskProgress(claim, end, self._news.set)
        with suppress(redis.RedisError):  # then the next look tells
            task.is_viewed = claim.job_id in self._jobs.events.viewed([claim.job_id])
        with self._lock:
            self._tasks.append(task)
        try:
            yield task
        finally:
            with self._lock:
                self._tasks.remove(task)

    def send(self) -> bool:
        """Send what is new of all tasks, in one round trip; False when Redis is away, so that it is still new."""
        with self._lock:
            tasks = list(self._tasks)
        self._look(tasks)
        news = {task: progress for task in tasks if (progress := task.news(self._clock()))}
        return not news or self._send(news)

    def _look(self, tasks: Sequence[TaskProgress]) -> None:
        """See whose previews somebody wants to see, once a second at most."""
        now = self._clock()
        if not tasks or now < self._look_at:
            return
        self._look_at = now + _LOOK_PAUSE_S
        with suppress(redis.RedisError):
            viewed = self._jobs.events.viewed([task.claim.job_id for task in tasks])
            for task in tasks:
                task.is_viewed = task.claim.job_id in viewed

    def _send(self, news: Mapping[TaskProgress, Progress]) -> bool:
        try:
            objections = self._jobs.progress.report({task.claim: progress for task, progress in news.items()})
        except Exception as error:
            if isinstance(error, redis.RedisError) and passes(error):
                return False
            if len(news) > 1:  # one of them must not keep the others from being told
                sent = [self._send({task: progress}) for task, progress in news.items()]
                return all(sent)
            for task in news:
                with about_job(task.claim.job_id, task=task.claim.task):
                    log.exception("the progress of the task cannot be told")
                task.end(InternalError("The worker failed at this request; its log says why."))
            return True
        for task in news:
            task.told(self._clock())
            if objection := objections.get(task.claim):
                task.end(objection)
        return True

    def _run(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            pause_s = _PAUSE_S
            if not self._stopping.is_set() and not self._send_safely():
                pause_s = _AWAY_PAUSE_S
                self._news.set()
            if self._stopping.wait(pause_s):
                return

    def _send_safely(self) -> bool:
        try:
            return self.send()
        except Exception:
            log.exception("the progress of the tasks cannot be told; that will be tried again")
            return False


def _jpeg(small: Image.Image) -> bytes:
    scale = _PREVIEW_SIDE / max(small.size)
    larger = small.resize((round(small.width * scale), round(small.height * scale)), Image.Resampling.BICUBIC)
    data = io.BytesIO()
    larger.save(data, "JPEG", quality=75)
    return data.getvalue()
