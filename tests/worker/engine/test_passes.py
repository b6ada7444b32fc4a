"""Between two forward passes: the host is ahead of the device, and waits for it once a step."""

import gc
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from shared.catalogue.models import Catalogue
from shared.catalogue.samplers import SAMPLERS
from shared.errors import JobCancelled, OutOfMemory
from shared.settings import Settings
from tests.worker.engine.stand_in import Clock, StandIn, standing_in
from worker.engine import DenoiseRequest, Engine
from worker.engine.batch import Evaluator, Inputs
from worker.engine.passes import Pass
from worker.engine.running import RunningRequest
from worker.engine.scheduler import Scheduler
from worker.engine.step_times import StepTimes
from worker.families import FAMILIES
from worker.samplers import Trajectory
from worker.samplers.trajectory import Planned

Build = Callable[..., DenoiseRequest]


def silent(_step: int, _steps: int) -> None:
    """Nobody listens."""


@pytest.fixture
def clock() -> Clock:
    return Clock(pass_s=0.002)


@pytest.fixture
def engine(clock: Clock, settings: Settings, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine on a device that queues, with a model that says nothing."""
    monkeypatch.setattr("worker.engine.engine.pick_device", lambda _: StandIn("cpu", clock))
    told = {name: standing_in(family, clock) for name, family in FAMILIES.items()}
    monkeypatch.setattr("worker.engine.running.FAMILIES", told)
    monkeypatch.setattr(StepTimes, "share", lambda _, items: len(items))
    engine = Engine(settings, catalogue)
    engine.start()
    yield engine
    engine.stop()


def test_the_next_pass_is_queued_before_the_last_is_waited_for(
    engine: Engine, clock: Clock, request_for: Build
) -> None:
    """Given a device that queues, when an image is made, then at each wait but the last another pass is queued."""
    engine.submit(request_for(steps=6), silent).result(60)
    assert clock.events == ["pass", "pass", *["wait", "pass"] * 4, "wait", "wait"]


def test_steps_are_told_in_order_and_all_of_them(engine: Engine, request_for: Build) -> None:
    """Given requests of several samplers and lengths, when they share a device that queues, then each hears of every
    step, once and in order, before it has its image."""
    heard: dict[int, list[tuple[int, int]]] = {}
    tickets = []
    for seed, (sampler, steps) in enumerate([("ddim", 3), ("plms", 5), ("k_heun", 4), ("k_dpm_ad", 1)]):
        steps_heard = heard[seed] = []

        def hear(step: int, of: int, told: list[tuple[int, int]] = steps_heard) -> None:
            told.append((step, of))

        tickets.append(engine.submit(request_for(sampler=sampler, steps=steps, noise_seed=seed), hear))
    for ticket in tickets:
        assert ticket.result(60).image
    for steps_heard in heard.values():
        assert [step for step, _ in steps_heard] == list(range(1, len(steps_heard) + 1))
        assert steps_heard[-1][0] == steps_heard[-1][1]
    assert [len(heard[seed]) for seed in range(3)] == [3, 6, 7]


def test_a_request_that_ends_while_the_device_is_at_it_is_told_nothing_more(
    engine: Engine, clock: Clock, request_for: Build
) -> None:
    """Given a pass under way, when its request is cancelled, then no step of it comes later, and its place is free."""
    heard: list[int] = []
    begun = threading.Event()

    def hear(step: int, _steps: int) -> None:
        heard.append(step)
        if step == 3:
            ticket.cancel()
            begun.set()

    with engine._inbox.changed:
        ticket = engine.submit(request_for(steps=500), hear)
    with pytest.raises(JobCancelled):
        ticket.result(60)
    assert begun.is_set()
    assert heard[-1] <= 4
    told = len(heard)
    assert engine.submit(request_for(steps=2), silent).result(60).image
    assert len(heard) == told


def breaking(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the third step of the requests with the seed 13 fail there."""

    def fails(batch: Sequence[RunningRequest]) -> bool:
        return any(one.ticket.request.noise_seed == 13 and one.queued == 2 for one in batch)

    forward, advance, noise = Evaluator._forward, Pass._advance, Planned.noise

    def forwarded(evaluator: Evaluator, batch: Sequence[RunningRequest], inputs: Inputs) -> torch.Tensor:
        if where == "the forward pass" and fails(batch):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(evaluator, batch, inputs)

    def advanced(one: Pass, requests: Sequence[RunningRequest], inputs: Inputs, outputs: torch.Tensor) -> None:
        due.clear()
        due.extend(running.trajectory for running in requests if fails([running]))
        advance(one, requests, inputs, outputs)

    def drawn(trajectory: Planned) -> torch.Tensor:
        if where == "the noise" and trajectory in due:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return noise(trajectory)

    due: list[Trajectory] = []
    monkeypatch.setattr(Evaluator, "_forward", forwarded)
    monkeypatch.setattr(Pass, "_advance", advanced)
    monkeypatch.setattr(Planned, "noise", drawn)


@pytest.mark.parametrize("where", ["the forward pass", "the noise"])
def test_a_request_that_fails_on_a_device_that_queues_fails_alone(
    where: str, engine: Engine, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a request for which a step fails, when others share its passes, then it ends with its error, they have
    their images, and the next request is served."""
    breaking(where, monkeypatch)
    with engine._inbox.changed:
        failing = engine.submit(request_for(steps=6, sampler="k_euler_a", noise_seed=13), silent)
        others = [engine.submit(request_for(steps=6, sampler="k_euler_a", noise_seed=seed), silent) for seed in (1, 2)]
    with pytest.raises(OutOfMemory):
        failing.result(60)
    assert all(other.result(60).image for other in others)
    assert engine.submit(request_for(steps=2), silent).result(60).image


@pytest.mark.parametrize("where", ["worker.engine.passes.guided", "worker.engine.latents.Latents.read"])
def test_no_memory_between_two_passes_ends_their_requests_only(
    where: str, engine: Engine, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given no memory for what stands between two passes, when that fails, then the requests of the pass end with it,
    and the engine goes on."""

    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(where, full)
        with pytest.raises(OutOfMemory):
            engine.submit(request_for(steps=3), silent).result(60)
    assert engine.submit(request_for(steps=3), silent).result(60).image


def test_what_found_no_memory_keeps_none(engine: Engine, request_for: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given no memory between two passes, when their request has ended, then what it had there is free at once."""
    had: list[weakref.ref[torch.Tensor]] = []

    def full(*_: Any) -> torch.Tensor:
        large = torch.ones(8)
        had.append(weakref.ref(large))
        raise torch.OutOfMemoryError("CUDA out of memory")

    gc.disable()
    try:
        with monkeypatch.context() as patched:
            patched.setattr("worker.engine.passes.guided", full)
            with pytest.raises(OutOfMemory):
                engine.submit(request_for(steps=3), silent).result(60)
        assert engine.submit(request_for(steps=3), silent).result(60).image
        assert [one() for one in had] == [None]
    finally:
        gc.enable()


def test_no_pass_is_left_when_nobody_is(engine: Engine, clock: Clock, request_for: Build) -> None:
    """Given two passes of a request under way, when its listener ends it, then the second is waited for as well, and
    not with the next request, however late that comes."""

    def object_at_two(step: int, _steps: int) -> None:
        if step == 2:
            raise JobCancelled("Enough.")

    with pytest.raises(JobCancelled):
        engine.submit(request_for(steps=6), object_at_two).result(60)
    engine.stop()
    assert Counter(clock.events) == {"pass": 3, "wait": 3}


def test_a_pass_takes_what_the_device_took(engine: Engine, request_for: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a host that is elsewhere while a pass is under way, when the pass's time is noted, then it is that between
    the device's marks, and not that until the host came."""
    noted: list[float] = []
    monkeypatch.setattr("tests.worker.engine.stand_in._Mark.since", lambda *_: 0.25)
    monkeypatch.setattr(Scheduler, "took", lambda _, seconds, __: noted.append(seconds))
    engine.submit(request_for(steps=3), silent).result(60)
    assert noted == [0.25] * 3


class Waits(TorchDispatchMode):
    """Counts what would make the host wait for a device: reading a value of a tensor, or copying one to the host."""

    WAITING = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "equal", "unique")

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.counted: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.partition(".")[0]
        if name in self.WAITING:
            self.counted[name] += 1
        return func(*args, **(kwargs or {}))


def test_a_step_reads_nothing_back_from_the_device(
    engine: Engine, clock: Clock, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given requests of every sampler with a plan, when they share their steps, then no operation before the wait makes
    the host wait for the device."""
    waits = Waits()
    queue = Pass._queue
    passes: list[int] = []

    def watched(one: Pass, evaluator: Evaluator) -> bool:
        passes.append(len(one.batch))
        with waits:
            return queue(one, evaluator)

    monkeypatch.setattr(Pass, "_queue", watched)
    samplers = [name for name, sampler in SAMPLERS.items() if sampler.evaluations_per_step is not None]
    with engine._inbox.changed:
        tickets = [
            engine.submit(request_for(sampler=name, steps=4, guidance_scale=scale), silent, lambda _: None)
            for name in samplers
            for scale in (1.0, 7.5)
        ]
    for ticket in tickets:
        assert ticket.result(120).image
    assert max(passes) > len(samplers) / 2
    assert not waits.counted


@pytest.mark.parametrize("model", ["tiny-sd1", "tiny-sd2", "tiny-sdxl"])
def test_a_request_that_comes_in_reads_nothing_back_from_the_device(
    model: str, engine: Engine, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a model in memory, when a request comes in with weighted words, sub-prompts or a long text, then no
    operation until its first pass makes the host wait for the device."""
    assert engine.submit(request_for(model=model), silent).result(60).image
    waits = Waits()
    begin = RunningRequest.__init__
    begun: list[str] = []

    def watched(running: RunningRequest, *given: Any, **named: Any) -> None:
        with waits:
            begin(running, *given, **named)
        begun.append(running.ticket.request.prompt)

    monkeypatch.setattr(RunningRequest, "__init__", watched)
    prompts = ["the (red:1.3) [cat]", "red cat:0.25 white duck:0.75", "a (blue) duck " + "photo " * 90]
    for prompt in prompts:
        assert engine.submit(request_for(model=model, prompt=prompt), silent).result(60).image
    assert begun == prompts
    assert not waits.counted


def test_the_counter_counts() -> None:
    """Given a value that is read from a tensor, when that is watched, then it is counted."""
    waits = Waits()
    with waits:
        float(torch.ones(2).sum())
    assert waits.counted == {"_local_scalar_dense": 1}
