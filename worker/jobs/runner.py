"""One task of a job, from its message to its stored images: claim, denoise, store, mark, and close the job."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

import redis

from shared.errors import InternalError, JobCancelled, ModelUnavailable, ServiceError
from shared.histograms import QUEUE_WAIT, STAGE
from shared.jobs.records import Claim, StoredImage, TaskRef, new_token, result_folder
from shared.jobs.signals import LeaseLost, Objection, Signal, TaskBusy, TaskElsewhere, WorkerFailed, WorkerStopping
from shared.jobs.store import JobStore
from shared.logs import about_job
from shared.redis.errors import suppress_passing
from shared.request.model import INIT_IMAGE, ImageRequest
from shared.storage.results import ResultStore
from worker.engine import Denoised, Ticket
from worker.jobs.closing import Closing
from worker.jobs.denoiser import Denoiser
from worker.jobs.enlarging import Enlargement, StepsAndTiles
from worker.jobs.inputs import InputImages
from worker.jobs.isolation import Isolation
from worker.jobs.patience import Patience
from worker.jobs.progress import Reporter, TaskProgress
from worker.jobs.result_files import ResultFiles
from worker.jobs.task_images import ReadyImages, denoise_request, image_file
from worker.observations import Observations
from worker.upscalers.enlarger import Enlarger

log = logging.getLogger(__name__)


class TaskRunner:
    """Carries out tasks. Safe to use from many threads at once; the engine does the sharing."""

    def __init__(
        self,
        jobs: JobStore,
        results: ResultStore,
        engine: Denoiser,
        served_elsewhere: Callable[[ImageRequest], bool] = lambda _request: False,
        left_to_others: Callable[[str], Collection[str]] = lambda _variant: (),
        patience: Patience | None = None,
        reporter: Reporter | None = None,
        observations: Observations | None = None,
        model_hash: Callable[[str], str] = lambda _model: "",
        enlarger: Enlarger | None = None,
        device: str = "cpu",
    ) -> None:
        """`served_elsewhere` tells whether another live worker has the model that a request asks for.

        `left_to_others`: which models, for requests of a variant, only other workers have. `reporter` tells of the
        progress of the tasks, once its thread runs. `observations` counts waits and what storing takes. `model_hash`
        gives the short hash of a model, "" while it is not known. `enlarger` is what enlarges images, on `device`; by
        the filters alone unless given.
        """
        self._jobs = jobs
        self._served_elsewhere = served_elsewhere
        self._left_to_others = left_to_others
        self._isolation = Isolation()
        self._engine = engine
        patience = patience or Patience()
        self._patiently = patience.for_redis
        self._files = ResultFiles(jobs, results, patience)
        self._inputs = InputImages(self._files)
        self._closing = Closing(jobs, self._files, patience)
        self._reporter = reporter or Reporter(jobs)
        self._observations = observations or Observations()
        self._model_hash = model_hash
        self._enlarger = enlarger or Enlarger()
        self._device = device
        self._lock = threading.Lock()
        self._tickets: dict[Claim, list[Ticket | Enlargement]] = {}

    def renew(self) -> None:
        """Send a heartbeat for every task in progress, also while a model loads and no step is done."""
        for claim in self.in_hand():
            self._jobs.claims.renew(claim)

    def watch(self) -> None:
        """End what must not go on, also while it waits for its turn and makes no step that would notice."""
        for claim, error in self._jobs.claims.objections(self.in_hand()).items():
            self._end(claim, error)

    def _end(self, claim: Claim, error: Objection) -> None:
        with self._lock:
            tickets = list(self._tickets.get(claim, ()))
        for ticket in tickets:
            ticket.cancel(error)

    def in_hand(self) -> list[Claim]:
        """The tasks that this worker has taken and not ended."""
        with self._lock:
            return list(self._tickets)

    @property
    def runs_alone(self) -> bool:
        """Whether a task runs alone here, or waits for the others to be done."""
        return self._isolation.closed

    def run_next(self, message: str, variant: str) -> bool:
        """Do the task that is due for workers of `variant`, if any. `message` is the id of the message that came.

        A task whose earlier attempt was lost runs alone. False when the task or its message are another's by now, so
        that the message must be let go without a word. Raises WorkerStopping when the task was given back, TaskBusy
        when another attempt has it, only others have its model, or another task runs alone here: then the message must
        go back to the queue. The task does not wait for its message, but is the next one. It waits where another
        attempt has it, and where only another worker can do it: this one would take it again and again.
        """
        try:
            return self._run_next(message, variant)
        except TaskElsewhere:
            raise
        except (TaskBusy, WorkerStopping):
            with suppress_passing():  # then it is found to be abandoned
                self._jobs.recovery.give_back(message)
            raise

    def _run_next(self, message: str, variant: str) -> bool:
        if self._isolation.closed:
            raise TaskBusy("This worker runs a task alone.")
        left = self._left_to_others(variant)
        task = self._patiently(lambda: self._jobs.claims.take(message, variant, left))
        if task is None:
            return True
        token = new_token()
        if self._patiently(lambda: self._jobs.claims.lost_before(task)):
            try:
                every_s = max(0.1, self._jobs.leases.seconds / 4)
                with self._isolation.alone(lambda: self._hold(task, message, token), every_s):
                    owned = self.run(task, message, token)
            except JobCancelled as ended:
                log.info("the task does not wait any longer to run alone: %s", ended)
                owned = True
        else:
            with self._isolation.together():
                owned = self.run(task, message, token)
        return self._patiently(lambda: self._jobs.backlog.drop(message, task, "" if owned else token))

    def _hold(self, task: TaskRef, message: str, token: str) -> None:
        with suppress_passing():
            self._jobs.claims.reserve(task, message, token)

    def run(self, task: TaskRef, message: str = "", token: str = "") -> bool:
        """Do one task. Whatever goes wrong with the job is written into its record, not raised.

        False when another attempt took the task over. Raises WorkerStopping and TaskBusy as `run_next`.
        """
        with about_job(task.job_id, task=task.number):
            return self._run(task, message, token or new_token())

    def _run(self, task: TaskRef, message: str, token: str) -> bool:
        claim = self._patiently(lambda: self._jobs.claims.claim(task.job_id, task.number, message, token))
        if claim is None:
            return True
        log.info("the task begins, attempt %d", claim.attempt)
        if claim.waited_s is not None:
            self._observations.observe(QUEUE_WAIT, claim.waited_s, model=claim.request.params.model)
        with self._lock:
            self._tickets[claim] = []
        try:
            return self._carry_out(claim)
        finally:
            with self._lock:
                del self._tickets[claim]

    def _carry_out(self, claim: Claim) -> bool:
        """Whether the task is still this attempt's, or nobody's because its job has ended."""
        started = time.monotonic()
        try:
            last = claim.finished or self._make(claim)
            log.info("the task is done after %.1f s, attempt %d", time.monotonic() - started, claim.attempt)
            if last:
                self._closing.close(claim)
        except (JobCancelled, LeaseLost) as reason:
            log.info("the task is not continued: %s", reason)
            return isinstance(reason, JobCancelled)
        except WorkerStopping as stopping:
            return self._give_back(claim, stopping, counted=isinstance(stopping, WorkerFailed))
        except ModelUnavailable as error:
            if self._served_elsewhere(claim.request):
                return self._give_back(claim, TaskElsewhere("Another worker has what this task needs."))
            return self._fail(claim, error)
        except ServiceError as error:
            return self._fail(claim, error)
        except Exception:
            log.exception("the task failed")
            return self._fail(claim, InternalError("The worker failed at this request; its log says why."))
        return True

    def _give_back(self, claim: Claim, reason: Signal, counted: bool = False) -> bool:
        """Let another begin the task, and raise `reason`; else as `_carry_out`."""
        try:
            self._jobs.claims.release(claim, counted=counted)
        except (JobCancelled, LeaseLost) as objection:
            log.info("the task is not given back: %s", objection)
            return isinstance(objection, JobCancelled)
        except redis.RedisError as away:
            log.warning("the task cannot be given back, its lease runs out by itself: %s", away)
        raise reason

    def _make(self, claim: Claim) -> bool:
        """Make and store the images of a task; True when it was the last task of the job."""
        request = claim.request
        if request.kind != "upscale":
            self._engine.fetch(request.params.model, lambda percent: self._downloading(claim, percent))
        images = self._inputs.of(claim)
        with self._reporter.follow(claim, lambda error: self._end(claim, error)) as progress:
            enlargement = Enlargement(self._enlarger, request)
            self._tickets[claim].append(enlargement)
            if request.kind == "upscale":
                large = enlargement.run(images.by_name[INIT_IMAGE], progress.of_sample(0))
                return self._keep(claim, [Denoised(large, {"device": self._device})])
            tiles = enlargement.tiles() if request.delivering_network else 0
            told = [StepsAndTiles(progress.of_sample(sample), tiles) for sample in range(request.n_samples)]
            drawn = [self._with_hash(claim, made) for made in self._denoise(claim, images, progress, told)]
            if not tiles:
                return self._keep(claim, drawn)
            # one at a time, for they are large
            return self._keep(
                claim,
                (
                    replace(each, image=enlargement.run(each.image, told[sample].tile))
                    for sample, each in enumerate(drawn)
                ),
            )

    def _keep(self, claim: Claim, finished: Iterable[Denoised]) -> bool:
        """Store the images of a task, each as soon as it is given, and mark the task as done; as `_make`."""
        stored, used, warnings = list[StoredImage](), dict[str, object](), dict[str, None]()
        for sample, image in enumerate(finished):
            with self._observations.timed(STAGE, model=claim.request.params.model, stage="storing"):
                stored.append(self._store(claim, sample, image))
            used = used or dict(image.used)
            warnings |= dict.fromkeys(image.warnings)
        return self._patiently(lambda: self._jobs.claims.finish(claim, stored, used, list(warnings)))

    def _with_hash(self, claim: Claim, finished: Denoised) -> Denoised:
        """The image, beside whose effective options stands the hash of its model, once that is known."""
        known = self._model_hash(claim.request.params.model)
        return replace(finished, used={**finished.used, "model_hash": known}) if known else finished

    def _downloading(self, claim: Claim, percent: int) -> None:
        with suppress_passing():
            self._jobs.progress.downloading(claim, percent)

    def _denoise(
        self, claim: Claim, images: ReadyImages, progress: TaskProgress, told: Sequence[StepsAndTiles]
    ) -> list[Denoised]:
        """The images of a task, drawn from the input images of its job; `told` are told of the steps of each."""
        tickets: list[Ticket] = []
        try:
            for sample in range(claim.request.n_samples):
                on_preview = progress.show if sample == 0 else None
                request = denoise_request(claim.request, claim.task, sample, images)
                on_step = told[sample].step
                tickets.append(self._engine.submit(request, on_step, on_preview, progress.wants_preview))
                self._tickets[claim].append(tickets[-1])
            return [images.finished(ticket.result()) for ticket in tickets]
        except BaseException:
            for ticket in tickets:
                ticket.cancel()
            raise

    def _store(self, claim: Claim, sample: int, finished: Denoised) -> StoredImage:
        request = claim.request
        name, data = image_file(request, claim.task, sample, finished)
        self._files.write(claim, result_folder(claim.job_id, request), name, data)
        return StoredImage(name=name, seed=request.seed_of(claim.task, sample))

    def _fail(self, claim: Claim, error: ServiceError) -> bool:
        """End the job with `error`; as `_carry_out`."""
        log.warning("the job failed: %s", error)
        try:
            self._patiently(lambda: self._jobs.claims.fail(claim, error))
        except (JobCancelled, LeaseLost) as reason:
            log.info("the failure changes nothing: %s", reason)
            return isinstance(reason, JobCancelled)
        return True
