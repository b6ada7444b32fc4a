"""The engine: one thread that owns the device and advances the requests of everybody, sharing UNet calls.

Each turn: who is cancelled leaves, who waits may join, one group of requests advances by one model evaluation, and at
most one finished request is decoded (on a CPU one a thread). Requests join and leave between any two evaluations.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import InvalidStateError
from contextlib import suppress
from itertools import accumulate
from typing import Any

import torch
from PIL import Image

from shared.catalogue.models import Catalogue
from shared.catalogue.samplers import SAMPLERS
from shared.errors import InternalError, InvalidRequest, OutOfMemory, ServiceError
from shared.histograms import BATCH_ITEMS, FORWARD_PASS, STAGE
from shared.jobs.signals import Objection, Signal, WorkerFailed, WorkerStopping
from shared.request.prompts import parse_prompt
from shared.settings import Settings
from worker.acceleration.threads import at_once
from worker.engine.batch import evaluate
from worker.engine.curve_files import CurveFiles
from worker.engine.curves import Curves
from worker.engine.measuring import Measurement
from worker.engine.options import resolve
from worker.engine.request import DenoiseRequest, OnPreview, OnStep, Ticket
from worker.engine.running import RunningRequest
from worker.engine.scheduler import Scheduler
from worker.hardware.cores import cores_for
from worker.hardware.devices import is_out_of_memory, pick_device
from worker.hardware.variants import Precision, profile_for
from worker.models.cache import CheckpointCache
from worker.models.checkpoint import Checkpoint
from worker.observations import Observations

log = logging.getLogger(__name__)

# how long requests for models in memory may go before one whose model must be loaded in their place
_MODEL_PATIENCE_S = 10.0
# how long requests may come in before those that run make their next step
_ADMISSION_S = 0.05
# how long what is wanted in hand may be out of date
_LOOK_AGAIN_S = 0.02
# in images that are decoded at the same time: no more memory than one of SD 1.x takes
_PIXELS_AT_ONCE = 512 * 512


class Engine:
    """Makes images on one device. `submit` may be called from any thread; nothing runs before `start`.

    Raises DeviceUnavailable or BackendUnavailable when what the operator wants to compute with is not here.
    """

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        on_failure: Callable[[BaseException], None] = lambda _: None,
        curve_files: CurveFiles | None = None,
        on_wanted: Callable[[], None] = lambda: None,
        observations: Observations | None = None,
    ) -> None:
        """`on_failure` is called, on the engine's thread, when that ends by an error; every request has ended then.

        `curve_files` keeps what is learned of batch sizes for the next start. `on_wanted` is called, on the engine's
        thread, when `wanted` has changed. `observations` counts what the passes and the stages took.
        """
        self._settings = settings
        self._catalogue = catalogue
        self._on_failure = on_failure
        self._device = pick_device(settings.device)
        self._profile = profile_for(settings.worker_variant, self._device)
        self._cache = CheckpointCache(settings, catalogue, self._device, self._profile)
        self._unended: set[Ticket] = set()
        self._waiting: deque[Ticket] = deque()
        self._running: list[RunningRequest] = []
        self._ended: deque[RunningRequest] = deque()
        self._scheduler = Scheduler()
        self._curves = Curves(curve_files)
        self._measurements: deque[Measurement] = deque()
        self._wanted = 1
        self._on_wanted = on_wanted
        self._observations = observations or Observations()
        self._look_again = 0.0
        self._owed_s = 0.0
        self._threads = 0
        self.share_cores(1)
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread that owns all torch work."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs; without it nothing that is submitted ever ends."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End what is waiting or in flight with `WorkerStopping`, then the thread; returns when it is gone."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def submit(self, request: DenoiseRequest, on_step: OnStep, on_preview: OnPreview | None = None) -> Ticket:
        """Take a request and return at once.

        `on_step(step, steps)` runs on the engine's thread after each model evaluation. When it raises an `Objection`,
        the request ends with that error within that step; others in flight are untouched. `on_preview(image)` is
        called the same way every few evaluations. Raises InvalidRequest.
        """
        self._check(request)
        for text in (request.prompt, request.params.negative_prompt):
            parse_prompt(text)  # kept there for the engine's thread, on which everybody else would wait for it
        ticket = Ticket(request, on_step, on_preview)
        with self._changed:
            if self._stopping:
                ticket.outcome.set_exception(WorkerStopping("The worker is stopping."))
            else:
                self._unended.add(ticket)
                ticket.outcome.add_done_callback(lambda _: self._unended.discard(ticket))
                self._waiting.append(ticket)
                self._changed.notify()
        return ticket

    def share_cores(self, workers: int) -> None:
        """Leave to each of so many workers, this one among them, an equal share of the cores from the next step on."""
        self._wanted_threads = self._settings.torch_threads or cores_for(workers, self._settings.worker_count)

    def wanted(self) -> int:
        """How many requests like the last ones should be in hand: those that share a pass best, or as many as it takes
        to learn that; more had better wait elsewhere."""
        return self._wanted

    def measure(self, request: DenoiseRequest, at_most_s: float, pass_s: float) -> tuple[str, int]:
        """Learn the step times of requests like this one, for so many seconds; waits until nothing else runs here.

        `pass_s` is what a forward pass of the request alone is expected to take.

        Gives what was measured, in words, and the optimal batch size, as far as is known then. Raises a ServiceError
        when the request cannot be run at all.
        """
        measurement = Measurement(request, at_most_s, pass_s)
        with self._changed:
            if self._stopping:
                raise WorkerStopping("The worker is stopping.")
            self._measurements.append(measurement)
            self._changed.notify()
        return measurement.outcome.result()

    def batching(self) -> dict[str, Any]:
        """The latest curves of step times; safe from any thread."""
        return self._curves.report()

    def keep_curves(self) -> None:
        """Write down what was learned of batch sizes; safe from any thread but the engine's, which it would delay."""
        self._curves.keep()

    def warm_models(self) -> list[str]:
        """Catalogue names of the models that are in memory now."""
        return self._cache.names()

    def missing_models(self) -> Mapping[str, str]:
        """Catalogue names of the models that are not here and may not be downloaded, each with the reason."""
        return self._cache.missing()

    def fetch(self, model: str, report: Callable[[int], None]) -> None:
        """Download the model if it is not here yet and that is allowed, calling `report(percent)` meanwhile.

        Blocks the calling thread, and nobody else. Raises ModelUnavailable, StorageFull, and what `report` raises.
        """
        self._cache.fetch(model, report)

    def _check(self, request: DenoiseRequest) -> None:
        """Raises InvalidRequest for what no sampler or model could do; the API has checked the rest."""
        params, wrong = request.params, dict[str, list[str]]()
        if params.sampler not in SAMPLERS:
            wrong["sampler"] = [f"No sampler is called '{params.sampler}'."]
        step = (self._catalogue.find(params.model) or self._catalogue.default).facts.size_step
        for name, pixels in (("W", params.width), ("H", params.height)):
            if pixels < step or pixels % step:
                wrong[name] = [f"Must be a positive multiple of {step}."]
        if params.steps < 1:
            wrong["ddim_steps"] = ["Must be at least 1."]
        if request.init_image is not None and request.init_image.size != (params.width, params.height):
            wrong["init_img"] = ["Must have the size of the image that is asked for."]
        if wrong:
            raise InvalidRequest("The image cannot be made as asked.", wrong)

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            with torch.no_grad():
                while self._wait_for_work():
                    self._turn()
        except BaseException as error:
            log.critical("the engine's thread ends by an error", exc_info=error)
            failure = error
        self._hand_back(failure)
        if failure is not None:
            self._on_failure(failure)

    def _hand_back(self, failure: BaseException | None) -> None:
        """End every request that has not ended: nobody works on them here any more, and no other comes in."""
        with self._changed:
            self._stopping = True
            untouched = set(self._waiting)
            left = list(self._unended)
        for measurement in self._measurements:
            measurement.outcome.set_exception(WorkerStopping("The worker is stopping."))
        for ticket in left:
            if failure is None or ticket in untouched:
                error = WorkerStopping("The worker is stopping.")
            else:
                error = WorkerFailed("The worker's device or engine failed.")
            with suppress(InvalidStateError):
                ticket.outcome.set_exception(error)

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopping or self._waiting or self._running or self._ended or self._measurements
            )
            return not self._stopping

    def _settle_threads(self) -> None:
        """Use this worker's share of the cores; workers on them come and go."""
        if (threads := self._wanted_threads) != self._threads:
            log.info("computing with %d threads", threads)
            torch.set_num_threads(threads)  # per thread in OpenMP, so it is done on this one
            self._threads = threads

    def _turn(self) -> None:
        """Advance one group of requests by one model evaluation, and finish some that are done."""
        self._settle_threads()
        if self._measurements and not self._running:
            self._measure(self._measurements.popleft())
        self._drop_cancelled()
        self._admit()
        if self._running:
            self._advance(self._next_batch())
        if self._ended:
            self._finish_some()
        if not self._running and not self._ended:
            self._cache.offload_idle()

    # ---- who comes and goes

    def _drop_cancelled(self) -> None:
        with self._changed:
            waiting = list(self._waiting)
        for ticket in waiting:
            if ending := ticket.ending:
                self._end_waiting(ticket, ending)
        for running in [*self._running, *self._ended]:
            if ending := running.ticket.ending:
                self._fail(running, ending)

    def _end_waiting(self, ticket: Ticket, ending: Objection) -> None:
        with self._changed:
            self._waiting.remove(ticket)
        ticket.outcome.set_exception(ending)

    def _admit(self) -> None:
        """Let waiting requests in: load their model, encode their prompt, start their sampler.

        Those that run wait meanwhile, so only as many come in as are quick; after one that was not, the others
        run for as long before the next comes. Encoding an image is long, so that none waits behind it.
        """
        if self._running and self._owed_s > 0:
            return
        with self._changed:
            waiting = list(self._waiting)
        encoded_image, started = False, time.perf_counter()
        for ticket in waiting:
            if self._running and time.perf_counter() - started >= _ADMISSION_S:
                break
            if ticket.request.init_image is not None and encoded_image:
                continue
            if ending := ticket.ending:
                self._end_waiting(ticket, ending)
                continue
            options = resolve(ticket.request.params, self._device, self._profile)
            if self._must_wait_for_room(ticket, options.precision):
                if time.monotonic() - ticket.arrived > _MODEL_PATIENCE_S:
                    break  # nobody overtakes it any more, so that the others' models fall free
                continue
            with self._changed:
                self._waiting.remove(ticket)
            try:
                checkpoint = self._cache.get(ticket.request.params.model, options.precision, self._in_use())
                self._running.append(RunningRequest(ticket, checkpoint, options))
            except Exception as error:
                self._make_good(error)
                ticket.outcome.set_exception(ticket.context.run(_translated, error))
            encoded_image = encoded_image or ticket.request.init_image is not None
        self._owed_s = time.perf_counter() - started - _ADMISSION_S

    def _must_wait_for_room(self, ticket: Ticket, precision: Precision) -> bool:
        in_use = self._in_use()
        return bool(in_use) and not self._cache.has_room(ticket.request.params.model, precision, in_use)

    def _in_use(self) -> list[Checkpoint]:
        return [running.checkpoint for running in (*self._running, *self._ended)]

    def _make_good(self, error: Exception) -> None:
        """Free the memory of what has failed, before it is told. Raises DeviceLost when nothing else would work."""
        if isinstance(error, (ServiceError, Signal)):
            self._device.empty_cache()
        else:
            self._device.recover(error)

    def _fail(self, running: RunningRequest, error: Exception) -> None:
        self._make_good(error)
        for held in (self._running, self._ended):
            if running in held:
                held.remove(running)
        running.ticket.outcome.set_exception(running.ticket.context.run(_translated, error))

    # ---- one evaluation

    def _next_batch(self) -> list[RunningRequest]:
        """The requests that share the next forward pass, at least one."""
        due = self._scheduler.order(self._running, self._seconds)
        if (at_most := due[0].max_batch_size) is not None:
            fitting = sum(total <= at_most for total in accumulate(running.batch_items for running in due))
            due = due[: max(1, fitting)]
        times = self._curves.of(due[0].group, self._threads)
        return due[: times.share([running.batch_items for running in due])]

    def _seconds(self, running: RunningRequest) -> float:
        """One evaluation of this request alone; what was never measured counts as nothing and so is tried soon."""
        return self._curves.of(running.group, self._threads).seconds(running.batch_items) or 0.0

    def _measure(self, measurement: Measurement) -> None:
        """Run one request's forward pass in batches of several sizes, as if there were so many of it."""
        request = measurement.request
        try:
            options = resolve(request.params, self._device, self._profile)
            checkpoint = self._cache.get(request.params.model, options.precision, ())
            running = RunningRequest(Ticket(request, lambda *_: None), checkpoint, options)
            group, threads = running.group, self._threads
            times = self._curves.of(group, threads)
            for copies in measurement.batches(times, running.batch_items, options.max_batch_size):
                started = time.perf_counter()
                predictions = evaluate([running] * copies, self._device)
                seconds = time.perf_counter() - started
                if predictions.out_of_memory:
                    times.too_many(copies * running.batch_items)
                    break
                predictions.of(running)
                self._curves.note(group, threads, copies * running.batch_items, seconds, source="start")
            self._want(running)
            measurement.outcome.set_result(self._curves.optimum(group, threads))
        except Exception as error:
            measurement.outcome.set_exception(_translated(error))
            self._make_good(error)

    def _want(self, running: RunningRequest) -> None:
        """Look again how many requests should be in hand, not after each of many short passes."""
        if time.monotonic() < self._look_again:
            return
        self._look_again = time.monotonic() + _LOOK_AGAIN_S
        wanted = self._curves.wanted(running.group, self._threads)
        if wanted != self._wanted:
            self._wanted = wanted
            self._on_wanted()

    def _advance(self, batch: list[RunningRequest]) -> None:
        """Evaluate, guide, and give each request its prediction; a failure ends its own request only."""
        oldest, group = self._running[0], batch[0].group
        started = time.perf_counter()
        predictions = evaluate(batch, self._device)
        seconds, items = time.perf_counter() - started, sum(running.batch_items for running in batch)
        self._scheduler.took(seconds, oldest in batch)
        self._owed_s -= seconds
        if predictions.out_of_memory:
            self._curves.of(group, self._threads).too_many(items)
        else:
            self._curves.note(group, self._threads, items, seconds)
            self._observations.observe(FORWARD_PASS, seconds, model=batch[0].params.model)
            self._observations.observe(BATCH_ITEMS, items)
        self._want(batch[0])
        for running in batch:
            try:
                running.send(running.guide(predictions.of(running)))
                if running.pending is None:
                    self._running.remove(running)
                    self._ended.append(running)
            except Exception as error:
                self._fail(running, error)

    def _finish_some(self) -> None:
        """Finish the first that has ended, and on a CPU others beside it, while all are small and each has a thread."""
        running_requests = [self._ended.popleft()]
        if self._device.kind == "cpu":
            pixels = running_requests[0].pixels
            while self._ended and len(running_requests) < self._threads:
                pixels += self._ended[0].pixels
                if pixels > _PIXELS_AT_ONCE:
                    break
                running_requests.append(self._ended.popleft())
        if len(running_requests) == 1:
            self._finish(running_requests[0])
            return
        decoded = at_once([running.decode for running in running_requests], self._threads // len(running_requests))
        for running, image in zip(running_requests, decoded, strict=True):
            # one that failed has another try, alone, in which it may be decoded in tiles
            self._finish(running, None if image.exception() else image.result())

    def _finish(self, running: RunningRequest, image: Image.Image | None = None) -> None:
        try:
            finished = running.finish(image)
            for stage, seconds in running.stage_seconds.items():
                self._observations.observe(STAGE, seconds, model=running.params.model, stage=stage)
            running.ticket.outcome.set_result(finished)
        except Exception as error:
            self._fail(running, error)


def _translated(error: Exception) -> ServiceError | Signal:
    """Our own errors as they are; any other logged, and told without its details."""
    if isinstance(error, (ServiceError, Signal)):
        return error
    if is_out_of_memory(error):
        log.warning("out of memory: %s", error)
        return OutOfMemory("The image does not fit into this worker's memory: ask for a smaller one.")
    log.error("a request failed", exc_info=error)
    return InternalError("Something unforeseen happened while the image was made; the worker's log has the details.")
