"""The engine: one thread that owns the device and advances the requests of everybody, sharing forward passes.

Each turn: who is cancelled leaves, who waits may join, one group of requests advances by one model evaluation, and at
most one finished request is decoded (on a CPU one a thread). Requests join and leave between any two evaluations. On a
device that queues what it is given, the next pass is queued before the last one is waited for: what comes next does not
depend on what the model says, so the host does its work while the device does. Such a device decodes beside the passes.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import torch

from shared.catalogue.models import Catalogue
from shared.histograms import BATCH_ITEMS, FORWARD_PASS
from shared.request.prompts import parse_prompt
from shared.settings import Settings
from worker.adapters.controlnet_cache import ControlNetCache
from worker.adapters.lora_files import LoraFiles
from worker.engine.active import ActiveRequests
from worker.engine.admission import Admission
from worker.engine.batch import Evaluator
from worker.engine.curve_files import CurveFiles
from worker.engine.curves import Curves
from worker.engine.decoding import Decoder
from worker.engine.decoding_beside import DecoderBeside
from worker.engine.demand import Demand
from worker.engine.failure import make_good, translated
from worker.engine.hires import first_stage, second_stage
from worker.engine.inbox import Aside, Inbox
from worker.engine.measurement import BATCH_SIZES, Measurement
from worker.engine.options import resolve
from worker.engine.passes import Pass
from worker.engine.request import DenoiseRequest, OnPreview, OnStep, Ticket, WantsPreview, always
from worker.engine.running import RunningRequest
from worker.engine.scheduler import Scheduler
from worker.hardware.cores import cores_for
from worker.hardware.devices import pick_device
from worker.hardware.variants import profile_for
from worker.models.cache import CheckpointCache
from worker.observations import Observations
from worker.samplers import plan_of
from worker.text.embeddings import EmbeddingFiles
from worker.upscalers.networks import Networks

T = TypeVar("T")
log = logging.getLogger(__name__)

# of the memory of models: a LoRA is a few hundredths of one
_SHARE_OF_LORAS = 8
# likewise, of what all requests of a pass add to their model
_SHARE_OF_STACKS = 4
# likewise; an ESRGAN takes 64 MiB
_SHARE_OF_NETWORKS = 8


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
        self._lora_files = LoraFiles(catalogue, settings.model_memory // _SHARE_OF_LORAS)
        self.networks = Networks(catalogue, self._device.name, settings.model_memory // _SHARE_OF_NETWORKS)
        """Those that enlarge images; for whoever works by `run_aside`."""
        self._cache = CheckpointCache(
            settings,
            catalogue,
            self._device,
            self._profile,
            beside=lambda: self._lora_files.nbytes + self.networks.nbytes + self._evaluator.nbytes,
        )
        self._controlnets = ControlNetCache(
            settings, catalogue, self._device, self._cache.preparation, self._cache.home
        )
        self._inbox = Inbox()
        self._active = ActiveRequests(self._device)
        self._admission = Admission(
            self._inbox,
            self._active,
            self._cache,
            self._device,
            self._profile,
            EmbeddingFiles(catalogue),
            self._controlnets,
            self.networks,
        )
        self._observations = observations or Observations()
        # where parts come and go the passes' part would leave for the decoder's
        beside = self._device.queues and not self._profile.offload
        self._decoder = (DecoderBeside if beside else Decoder)(self._active, self._device, self._observations)
        self._scheduler = Scheduler(settings.model_memory // _SHARE_OF_STACKS)
        self._evaluator = Evaluator(self._device)
        self._queued: deque[Pass] = deque()
        self._curves = Curves(curve_files)
        self._demand = Demand(self._curves, on_wanted)
        self._threads = 0
        self._until_idle_s: float | None = None
        self.share_cores(1)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread that owns all torch work."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs; without it nothing that is submitted ever ends."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End what waits or runs with `WorkerStopping`, then the thread; returns when it is gone."""
        self._inbox.close()
        if self._thread.is_alive():
            self._thread.join()

    def submit(
        self,
        request: DenoiseRequest,
        on_step: OnStep,
        on_preview: OnPreview | None = None,
        wants_preview: WantsPreview = always,
    ) -> Ticket:
        """Take a request and return at once.

        `on_step(step, steps)` runs on the engine's thread after each model evaluation. When it raises an `Objection`,
        the request ends with that error within that step; other requests are untouched. `on_preview(image)` is
        called the same way every few evaluations, where `wants_preview()` says so. Raises InvalidRequest, and
        ModelUnavailable for a LoRA that cannot be used.
        """
        request.check((self._catalogue.find(request.params.model) or self._catalogue.default).facts.size_step)
        for text in (request.prompt, request.params.negative_prompt):
            parse_prompt(text)  # kept there for the engine's thread, on which everybody else would wait for it
        params = request.params
        if config := self._cache.scheduler_config(params.model):
            with suppress(Exception):  # it is met again, and told, when the request begins
                for stage in filter(None, (first_stage(request), second_stage(request))):
                    plan_of(params.sampler, config, stage.steps, params.eta, params.schedule)  # kept likewise
        ticket = Ticket(request, on_step, on_preview, wants_preview, self._lora_files.read(params.loras))
        self._inbox.put(ticket)
        return ticket

    def run_aside(self, work: Callable[[], T]) -> T:
        """What `work()` gives, called on the engine's thread between two passes; it must be short, for all wait for it.

        Blocks the calling thread. Raises what it raises, as a ServiceError or a Signal, and WorkerStopping.
        """
        aside = Aside(work)
        self._inbox.put_aside(aside)
        done: T = aside.outcome.result()
        return done

    def share_cores(self, workers: int) -> None:
        """Leave to each of so many workers, this one among them, an equal share of the cores from the next step on."""
        self._wanted_threads = self._settings.torch_threads or cores_for(workers, self._settings.worker_count)

    def wanted(self) -> int:
        """How many requests like the last ones should be in hand: those that share a pass best, or as many as it takes
        to learn that; more had better wait elsewhere."""
        return self._demand.wanted

    def measure(
        self, request: DenoiseRequest, at_most_s: float, pass_s: float, copies: Sequence[int] = BATCH_SIZES
    ) -> tuple[str, int]:
        """Learn the step times of requests like this one, for so many seconds; waits until nothing else runs here.

        `pass_s` is what a forward pass of the request alone is expected to take; `copies`: how many of it the passes
        have. What compiling takes does not count.

        Gives what was measured, in words, and the optimal batch size, as far as is known then. Raises a ServiceError
        when the request cannot be run at all.
        """
        measurement = Measurement(request, at_most_s, pass_s, copies)
        self._inbox.put_measurement(measurement)
        return measurement.outcome.result()

    @property
    def compiles_each_size(self) -> bool:
        """Whether the first pass of each batch size takes the time in which it is compiled."""
        return self._settings.torch_compile and self._device.queues and not self._profile.offload

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

    def remarks(self) -> Sequence[str]:
        """What does not work here as it should, in sentences for the operator; safe from any thread."""
        return (*self._decoder.remarks, *self._cache.remarks())

    def fetch(self, model: str, report: Callable[[int], None]) -> None:
        """Download the model if it is not here yet and that is allowed, calling `report(percent)` meanwhile.

        Blocks the calling thread, and nobody else. Raises ModelUnavailable, StorageFull, and what `report` raises.
        """
        self._cache.fetch(model, report)

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            with torch.no_grad():
                while self._inbox.wait(bool(self._active) or self._decoder.busy, self._until_idle_s):
                    self._turn()
        except BaseException as error:
            log.critical("the engine's thread ends by an error", exc_info=error)
            failure = error
        self._inbox.hand_back(failure)
        if failure is not None:
            self._on_failure(failure)

    def _turn(self) -> None:
        """Advance one group of requests by one model evaluation, and finish some that are done."""
        self._use_threads()
        if not self._active.running and (measurement := self._inbox.take_measurement()):
            self._measure(measurement)
        if aside := self._inbox.take_aside():
            self._do_aside(aside)
        self._inbox.end_cancelled()
        self._active.end_cancelled()
        self._admission.admit()
        idle = not self._active.running
        if due := self._active.to_queue():
            batch = self._scheduler.next_batch(due, self._curves, self._threads)
            self._queued.append(Pass(batch, due[0] in batch, self._active, self._evaluator, self._device))
        # one goes on while the host works; a device that does not queue has done it already
        ahead = 1 if due and self._device.queues and not self._queued[-1].failed else 0
        while len(self._queued) > (ahead if self._active.running else 0):
            self._settle(self._queued.popleft())
        self._decoder.finish_some(self._threads, idle)
        self._active.enlarge_a_tile()
        if not self._active:
            self._evaluator.forget()
            self._cache.offload_idle()
        awaited = {ticket.request.params.model for ticket in self._inbox.waiting()}
        self._until_idle_s = self._cache.evict_idle(self._active.in_use(), awaited)
        if not self._cache.names():
            self._controlnets.forget()

    def _use_threads(self) -> None:
        """Use this worker's share of the cores; workers on them come and go."""
        if (threads := self._wanted_threads) != self._threads:
            log.info("computing with %d threads", threads)
            torch.set_num_threads(threads)  # per thread in OpenMP, so it is done on this one
            self._threads = threads

    def _do_aside(self, aside: Aside) -> None:
        try:
            aside.outcome.set_result(aside.work())
        except Exception as error:
            aside.outcome.set_exception(translated(error))
            make_good(error, self._device)

    def _measure(self, measurement: Measurement) -> None:
        request = measurement.request
        try:
            options = resolve(request.params, self._device, self._profile)
            checkpoint = self._cache.get(request.params.model, options.precision, ())
            running = RunningRequest(Ticket(request, lambda *_: None), checkpoint, options)
            group = running.group
            measurement.run(running, self._curves, self._threads, self._evaluator, self._device)
            self._demand.look(running.group, self._threads)
            measurement.outcome.set_result(self._curves.optimum(group, self._threads))
        except Exception as error:
            measurement.outcome.set_exception(translated(error))
            make_good(error, self._device)

    def _settle(self, done: Pass) -> None:
        """Wait for a pass, learn from the time that it took, and let its requests tell of it."""
        group = done.group
        seconds = done.wait()
        size, fewest = self._evaluator.size(done.batch[0], done.items)
        self._scheduler.took(seconds, done.with_oldest)
        self._admission.computed(seconds)
        if done.out_of_memory:
            self._curves.of(group, self._threads).too_many(fewest)
        else:
            self._curves.note(group, self._threads, size, seconds)
            self._observations.observe(FORWARD_PASS, seconds, model=done.batch[0].params.model)
            self._observations.observe(BATCH_ITEMS, done.items)
        self._demand.look(group, self._threads)
        done.settle()
