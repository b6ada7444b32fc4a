"""Requests that share forward passes: each gets the image that it would have got alone, whatever the others do."""

import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

from benchmarks.batching import random_request
from shared.catalogue.entries import load_catalogue
from shared.catalogue.models import Catalogue
from shared.errors import InternalError, JobCancelled, OutOfMemory
from shared.settings import Settings
from tests.images import SAME, decibels
from worker.engine import Denoised, DenoiseRequest, Engine, Ticket
from worker.engine.step_times import StepTimes
from worker.text.conditioning import TEXT

pytestmark = pytest.mark.slow

Build = Callable[..., DenoiseRequest]
PROMPTS = ("the red cat", "a (white:1.4) duck [dog]", "tabby cat:0.3 blue dog:0.7", "", "photo " * 100)


def silent(_step: int, _steps: int) -> None:
    """Nobody listens."""


def held_back(engine: Engine, request: DenoiseRequest) -> tuple[Ticket, threading.Event]:
    """A request that keeps the engine busy in its first step until the event is set, so that others come together."""
    begun, go_on = threading.Event(), threading.Event()

    def hold(step: int, _steps: int) -> None:
        begun.set()
        if step == 1:
            go_on.wait(60)

    ticket = engine.submit(request, hold)
    assert begun.wait(60)
    return ticket, go_on


def alone(engine: Engine, requests: list[DenoiseRequest]) -> list[Denoised]:
    return [engine.submit(request, silent).result(120) for request in requests]


def together(
    engine: Engine, requests: list[DenoiseRequest], before: DenoiseRequest, passes: list[int]
) -> list[Denoised]:
    """What requests give that come while one `before` them is held back, and share passes."""
    first, go_on = held_back(engine, before)
    passes.clear()
    tickets = [engine.submit(request, silent) for request in requests]
    go_on.set()
    first.result(60)
    done = [ticket.result(60) for ticket in tickets]
    assert max(passes) > 4, "nothing was shared"
    return done


@pytest.mark.parametrize(
    ("seed", "trained", "most_steps"),
    [
        (1, False, 12),
        *(
            pytest.param(seed, trained, 50, marks=pytest.mark.full)
            for seed, trained in ((1, False), (2, True), (3, True))
        ),
    ],
)
def test_an_image_does_not_depend_on_who_shares_its_passes(
    seed: int,
    trained: bool,
    most_steps: int,
    engine: Engine,
    fresh: Engine,
    passes: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Given 32 requests of every kind that come at random moments, when they share passes, then each equals its solo
    image."""
    # all that wait, whether it pays on this machine at this moment or not
    monkeypatch.setattr(StepTimes, "share", lambda _, items: len(items))
    rng = random.Random(seed)
    models = ("demo",) if trained else ("tiny-sd1", "tiny-sd2", "tiny-sdxl")
    sides = (64, 128, 192) if trained else (64, 96)
    requests = [random_request(rng, models, PROMPTS, sides, most_steps) for _ in range(32)]
    solo = alone(engine, requests)
    assert max(passes) <= 2
    passes.clear()
    tickets = []
    for request in requests:
        tickets.append(fresh.submit(request, silent))
        time.sleep(rng.random() * 0.03)
    together = [ticket.result(300) for ticket in tickets]
    assert max(passes) > 2, "nothing was shared"
    quality = [decibels(one.image, two.image) for one, two in zip(solo, together, strict=True)]
    worst = min(range(32), key=lambda number: quality[number])
    assert quality[worst] >= SAME, requests[worst]
    assert [one.warnings for one in solo] == [two.warnings for two in together]


def test_ways_to_guide_share_a_pass_and_change_no_other(engine: Engine, request_for: Build, passes: list[int]) -> None:
    """Given requests that are guided in different ways and for different shares of their steps, when they run together,
    then each gets its solo image."""
    ways: list[dict[str, Any]] = [
        {},
        {"guidance_rescale": 0.7},
        {"clip_skip": 2},
        {"guidance_until": 0.5},
        {"guidance_until": 0.3, "guidance_rescale": 1.0, "sampler": "k_heun"},
        {"guidance_until": 0.0},
        {"guidance_scale": 1.0},
        {"schedule": "karras", "sampler": "k_euler"},
    ]
    requests = [request_for(steps=10 + number, noise_seed=number, **way) for number, way in enumerate(ways)]
    solo = alone(engine, requests)
    shared = together(engine, requests, request_for(steps=30), passes)
    assert min(decibels(one.image, two.image) for one, two in zip(solo, shared, strict=True)) >= SAME


def test_steps_without_guidance_are_one_item(engine: Engine, request_for: Build, passes: list[int]) -> None:
    """Given guidance for half of the steps, when an image is made, then the others are half the work, and no step is
    guided by half."""
    engine.submit(request_for(steps=4, guidance_until=0.5), silent).result(60)
    assert passes == [2, 2, 1, 1]
    passes.clear()
    engine.submit(request_for(steps=4, guidance_until=0.3, sampler="k_heun"), silent).result(60)
    assert passes == [2, 2, 2, 2, 1, 1, 1]


def test_text_and_image_requests_share_a_pass(engine: Engine, request_for: Build, passes: list[int]) -> None:
    """Given equal sizes, when text to image and image to image wait together, then they run in the same passes."""
    first, go_on = held_back(engine, request_for(steps=30))
    passes.clear()
    others = [
        engine.submit(request, silent)
        for _ in range(4)
        for request in (
            request_for(steps=20),
            request_for(steps=20, init_image=Image.new("RGB", (64, 64)), sampler="k_euler"),
            request_for(steps=20, guidance_scale=1.0, sampler="k_heun"),
        )
    ]
    go_on.set()
    for ticket in [first, *others]:
        assert ticket.result(60).image
    assert max(passes) >= 8


def test_a_limit_on_items_holds_in_a_mixed_batch(engine: Engine, request_for: Build, passes: list[int]) -> None:
    """Given requests with unet_bs 4, when many of them wait, then no forward pass has more items than that."""
    first, go_on = held_back(engine, request_for(unet_bs=4, steps=30))
    passes.clear()
    others = [engine.submit(request_for(unet_bs=4, steps=20), silent) for _ in range(8)]
    go_on.set()
    for ticket in [first, *others]:
        ticket.result(60)
    assert max(passes) == 4


def test_cancelling_one_of_a_batch_leaves_the_others_alone(engine: Engine, request_for: Build) -> None:
    """Given requests in a batch, when one is cancelled, then it ends and the others' images are their solo ones."""
    requests = [request_for(noise_seed=seed, steps=30) for seed in range(6)]
    solo = alone(engine, requests)
    first, go_on = held_back(engine, request_for(steps=40))
    tickets = [engine.submit(request, silent) for request in requests]
    tickets[2].cancel()
    go_on.set()
    first.result(60)
    with pytest.raises(JobCancelled):
        tickets[2].result(60)
    for number, ticket in enumerate(tickets):
        if number != 2:
            assert decibels(ticket.result(60).image, solo[number].image) >= SAME


class Limits:
    """A device on which forward passes of more than `items` items run out of memory, and items like `poison` break."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from diffusers import UNet2DConditionModel

        self.items = 1000
        self.poison: torch.Tensor | None = None
        self.refused: list[int] = []
        call = UNet2DConditionModel.__call__

        def limited(unet: Any, sample: torch.Tensor, *arguments: Any, **named: Any) -> Any:
            if len(sample) > self.items:
                self.refused.append(len(sample))
                raise torch.OutOfMemoryError("CUDA out of memory")
            context = named["encoder_hidden_states"]
            if self.poison is not None and any(torch.equal(item, self.poison) for item in context):
                raise RuntimeError("a broken kernel")
            return call(unet, sample, *arguments, **named)

        monkeypatch.setattr(UNet2DConditionModel, "__call__", limited)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Limits:
    return Limits(monkeypatch)


def test_a_batch_that_does_not_fit_is_split(fresh: Engine, request_for: Build, device: Limits) -> None:
    """Given memory for 5 items, when eight requests wait, then all succeed with their solo images, and the size that
    failed is not tried again."""
    requests = [request_for(noise_seed=seed, steps=30) for seed in range(8)]
    solo = alone(fresh, requests)
    device.items = 5
    first, go_on = held_back(fresh, request_for(steps=40))
    tickets = [fresh.submit(request, silent) for request in requests]
    go_on.set()
    for ticket, one in zip(tickets, solo, strict=True):
        assert decibels(ticket.result(60).image, one.image) >= SAME
    assert first.result(60).warnings == ()
    assert device.refused
    assert len(device.refused) == len(set(device.refused))


def test_a_request_that_fits_only_item_by_item_says_so(fresh: Engine, request_for: Build, device: Limits) -> None:
    """Given memory for one item, when a guided request runs, then it is made item by item, with a warning."""
    solo = fresh.submit(request_for(), silent).result(60)
    device.items = 1
    done = fresh.submit(request_for(), silent).result(60)
    assert done.used["unet_bs"] == 1
    assert [warning.partition(":")[0] for warning in done.warnings] == ["unet_bs"]
    assert decibels(done.image, solo.image) >= SAME


def test_a_request_that_fits_nowhere_fails_alone(fresh: Engine, request_for: Build, device: Limits) -> None:
    """Given memory for nothing, when a request runs, then it alone ends with OutOfMemory and the next is served."""
    device.items = 0
    with pytest.raises(OutOfMemory):
        fresh.submit(request_for(), silent).result(60)
    device.items = 2
    assert fresh.submit(request_for(), silent).result(60).image


def test_a_request_that_breaks_a_call_fails_alone(
    fresh: Engine, request_for: Build, device: Limits, caplog: pytest.LogCaptureFixture
) -> None:
    """Given a request that breaks every call it is in, when it shares one, then only it fails."""
    requests = [request_for(noise_seed=seed, steps=30) for seed in range(6)]
    solo = alone(fresh, requests)
    first, go_on = held_back(fresh, request_for(steps=40))
    tickets = [fresh.submit(request, silent) for request in requests]
    bad = fresh.submit(request_for(prompt="white duck", steps=30), silent)
    bad_rows = threading.Event()

    def note_poison() -> None:
        running = next(f for f in fresh._active.running if f.ticket is bad)
        device.poison = running.conditioning_items[1][TEXT][0]
        bad_rows.set()

    fresh.submit(request_for(steps=1), lambda *_: note_poison())
    go_on.set()
    assert bad_rows.wait(60)
    with pytest.raises(InternalError) as failed:
        bad.result(60)
    assert "kernel" not in str(failed.value)
    assert "a broken kernel" in caplog.text
    assert first.result(60).image
    for ticket, one in zip(tickets, solo, strict=True):
        assert decibels(ticket.result(60).image, one.image) >= SAME


def test_a_stream_for_one_model_does_not_starve_another(
    settings: Settings, catalogue: Catalogue, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given memory for one model only and a stream for the first, when the second is asked for, then it is served, but
    not at once."""
    monkeypatch.setattr("worker.engine.admission._MODEL_PATIENCE_S", 0.3)
    engine = Engine(replace(settings, model_memory=1), catalogue)
    engine.start()
    try:
        stop = threading.Event()
        ends: list[float] = []

        def stream() -> None:
            while not stop.is_set():
                tickets = [engine.submit(request_for(noise_seed=seed, steps=20), silent) for seed in range(3)]
                for ticket in tickets:
                    ticket.result(60)
                    ends.append(time.monotonic())

        threads = [threading.Thread(target=stream) for _ in range(2)]
        for thread in threads:
            thread.start()
        while not ends:
            time.sleep(0.01)
        begun = time.monotonic()
        other = engine.submit(request_for(model="tiny-sd2"), silent)
        assert other.result(60).image
        served = time.monotonic()
        stop.set()
        for thread in threads:
            thread.join()
        assert any(begun < end < served for end in ends), "the model in memory was not served first"
    finally:
        engine.stop()


@pytest.fixture
def demo() -> Iterator[Engine]:
    """An engine over the trained demo model, whose decoder knows what it does."""
    engine = Engine(Settings(device="cpu", torch_threads=1), load_catalogue("demo"))
    engine.start()
    yield engine
    engine.stop()


def test_previews_come_to_look_like_the_image(demo: Engine, request_for: Build) -> None:
    """Given a listener for previews, when an image is made, then small images come, and the last is the closest."""
    seen: list[Image.Image] = []
    request = request_for(model="demo", prompt="a red circle on a blue background", width=128, height=96, steps=22)
    done = demo.submit(request, silent, seen.append).result(60)
    assert len(seen) == 6
    assert {image.size for image in seen} == {(16, 12)}
    small = done.image.resize((16, 12), Image.Resampling.BOX)
    assert decibels(seen[-1], small) >= 18
    assert decibels(seen[-1], small) >= decibels(seen[0], small)


def test_an_encoding_is_made_once(engine: Engine, request_for: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a prompt that was drawn before, when it is drawn again, then the text encoder is not asked."""
    from transformers import CLIPTextModel

    request = request_for(prompt="a photo of the white duck", steps=1)
    first = engine.submit(request, silent).result(60)
    monkeypatch.setattr(CLIPTextModel, "forward", lambda *_, **__: pytest.fail("the text was encoded again"))
    assert decibels(engine.submit(request, silent).result(60).image, first.image) == math.inf
