"""The engine: one thread that owns the device and advances every request in flight."""

import logging
import os
import threading
from collections import deque

import torch

from shared.errors import InternalError, InvalidRequest, JobCancelled, OutOfMemory, ServiceError, WorkerStopping
from shared.models import DOWNSAMPLING_FACTOR, Catalogue
from shared.samplers import SAMPLERS
from shared.settings import Settings
from worker.checkpoints import CheckpointCache
from worker.devices import pick_device
from worker.engine.flight import Flight
from worker.engine.request import DenoiseRequest, OnStep, Ticket
from worker.engine.wishes import settle
from worker.profiles import profile_for, thread_count

log = logging.getLogger(__name__)

# without shared UNet calls, interleaving two requests would only make both late
_IN_FLIGHT_AT_MOST = 1


class Engine:
    """Makes images on one device. `submit` may be called from any thread; nothing runs before `start`.

    Raises DeviceUnavailable when the operator's device is not here.
    """

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self._settings = settings
        self._device = pick_device(settings.device)
        self._profile = profile_for(settings.worker_variant, self._device)
        self._cache = CheckpointCache(settings, catalogue, self._device, self._profile)
        self._waiting: deque[Ticket] = deque()
        self._flights: list[Flight] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread that owns all torch work."""
        self._thread.start()

    def stop(self) -> None:
        """End what is waiting or in flight with `WorkerStopping`, then the thread; returns when it is gone."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def submit(self, request: DenoiseRequest, on_step: OnStep) -> Ticket:
        """Take a request and return at once; requests start in the order they came.

        `on_step(step, steps)` runs on the engine's thread after each model evaluation. When it raises a `JobError`,
        the request ends with that error within that step; others in flight are untouched. Raises InvalidRequest.
        """
        _check(request)
        ticket = Ticket(request, on_step)
        with self._changed:
            if self._stopping:
                ticket.outcome.set_exception(WorkerStopping("The worker is stopping."))
            else:
                self._waiting.append(ticket)
                self._changed.notify()
        return ticket

    def warm_models(self) -> list[str]:
        """Catalogue names of the models that are in memory now."""
        return self._cache.names()

    def available_models(self) -> list[str]:
        """Catalogue names of the models whose weights are here, or may be downloaded."""
        return self._cache.available()

    def _run(self) -> None:
        # per thread in OpenMP, so it is set here and not in `start`
        torch.set_num_threads(thread_count(self._settings.torch_threads, _cores(), self._settings.worker_count))
        with torch.no_grad():
            while self._wait_for_work():
                self._turn()
        for ticket in [*self._waiting, *(flight.ticket for flight in self._flights)]:
            ticket.outcome.set_exception(WorkerStopping("The worker is stopping."))

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._waiting or self._flights)
            return not self._stopping

    def _turn(self) -> None:
        """Advance every request in flight by one model evaluation."""
        # 1. collect: who is cancelled leaves, who waits may join
        self._drop_cancelled()
        self._admit()
        for flight in list(self._flights):
            try:
                if flight.pending is not None:
                    # 2. evaluate
                    predictions = self._evaluate(flight)
                    # 3. guide
                    guided = flight.guide(predictions)
                    # 4. return: to the sampler, which asks for the next evaluation or is done
                    flight.send(guided)
                if flight.pending is None:
                    flight.ticket.outcome.set_result(flight.finish())
                    self._flights.remove(flight)
            except Exception as error:
                self._flights.remove(flight)
                flight.ticket.outcome.set_exception(_translated(error))
                self._device.empty_cache()

    def _drop_cancelled(self) -> None:
        cancelled = JobCancelled("The job was cancelled.")
        with self._changed:
            for ticket in [ticket for ticket in self._waiting if ticket.cancelled]:
                self._waiting.remove(ticket)
                ticket.outcome.set_exception(cancelled)
        for flight in [flight for flight in self._flights if flight.ticket.cancelled]:
            self._flights.remove(flight)
            flight.ticket.outcome.set_exception(cancelled)

    def _admit(self) -> None:
        """Let the next requests in: load their model, encode their prompt, start their sampler."""
        while len(self._flights) < _IN_FLIGHT_AT_MOST and (ticket := self._next_waiting()):
            try:
                terms = settle(ticket.request, self._device, self._profile)
                in_use = [flight.checkpoint for flight in self._flights]
                checkpoint = self._cache.get(ticket.request.model, terms.precision, in_use)
                self._flights.append(Flight(ticket, checkpoint, terms))
            except Exception as error:
                ticket.outcome.set_exception(_translated(error))
                self._device.empty_cache()

    def _next_waiting(self) -> Ticket | None:
        with self._changed:
            return self._waiting.popleft() if self._waiting else None

    def _evaluate(self, flight: Flight) -> torch.Tensor:
        """The UNet's predictions for the flight's rows, `(rows, 4, h, w)`, at most `rows_at_most` a call.

        Float32 on the CPU, where samplers live.
        """
        if flight.pending is None:
            raise ValueError("the sampler waits for nothing")
        latents, timestep = flight.pending
        unet, name = flight.checkpoint.unet, self._device.name
        rows, at_most = flight.rows(), flight.terms.rows_at_most
        done = []
        with flight.checkpoint.in_use(unet, keep=flight.terms.turbo):
            for first in range(0, len(rows), at_most):
                context = torch.cat(rows[first : first + at_most]).to(unet.dtype)
                samples = torch.cat([latents] * len(context)).to(name, unet.dtype)
                timesteps = timestep.float().to(name).expand(len(context))
                done.append(unet(samples, timesteps, encoder_hidden_states=context, return_dict=False)[0])
        return torch.cat(done).float().cpu()


def _cores() -> int:
    """The cores this process may use, which in a container can be fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check(request: DenoiseRequest) -> None:
    """Raises InvalidRequest for what no sampler or model could do; the API has checked the rest."""
    wrong: dict[str, list[str]] = {}
    if request.sampler not in SAMPLERS:
        wrong["sampler"] = [f"No sampler is called '{request.sampler}'."]
    for name, pixels in (("W", request.width), ("H", request.height)):
        if pixels < DOWNSAMPLING_FACTOR or pixels % DOWNSAMPLING_FACTOR:
            wrong[name] = [f"Must be a positive multiple of {DOWNSAMPLING_FACTOR}."]
    if request.steps < 1:
        wrong["ddim_steps"] = ["Must be at least 1."]
    if request.init_image is not None and request.init_image.size != (request.width, request.height):
        wrong["init_img"] = ["Must have the size of the image that is asked for."]
    if wrong:
        raise InvalidRequest("The image cannot be made as asked.", wrong)


def _translated(error: Exception) -> ServiceError:
    """Our own errors as they are; any other logged, and told without its details."""
    if isinstance(error, ServiceError):
        return error
    if _is_out_of_memory(error):
        log.warning("out of memory: %s", error)
        return OutOfMemory("The image does not fit into this worker's memory: ask for a smaller one.")
    log.error("a request failed", exc_info=error)
    return InternalError("Something unforeseen happened while the image was made; the worker's log has the details.")


def _is_out_of_memory(error: Exception) -> bool:
    # the CPU allocator raises a plain RuntimeError
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
