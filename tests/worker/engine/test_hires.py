"""Images in two passes: one request to whoever asks, in the batches of everybody, and ended like any other."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from shared.catalogue.models import Catalogue
from shared.errors import InvalidRequest, JobCancelled, ModelUnavailable, NotAnImage
from shared.request.hires import Hires
from shared.settings import Settings
from tests.images import SAME, decibels
from tests.worker.engine.stand_in import Clock, StandIn
from worker.engine import DenoiseRequest, Engine, Ticket
from worker.engine.step_times import StepTimes
from worker.upscalers.networks import TiledNetwork

Build = Callable[..., DenoiseRequest]
SMALL, LARGE = {"width": 64, "height": 64}, {"width": 96, "height": 128}


def silent(_step: int, _steps: int) -> None:
    """Nobody listens."""


def two_passes(upscaler: str = "lanczos", **different: Any) -> dict[str, Any]:
    """A large image that is drawn small first."""
    values: dict[str, Any] = {
        "first_width": 64,
        "first_height": 64,
        "steps": 4,
        "strength": 0.6,
        "upscaler": upscaler,
    } | different
    return {**LARGE, "hires": Hires(**values)}


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Batch items and size of the latents of every forward pass."""
    from diffusers import UNet2DConditionModel

    seen: list[tuple[int, int, int]] = []
    call = UNet2DConditionModel.__call__

    def counting(unet: Any, sample: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        seen.append((len(sample), sample.shape[-1] * 8, sample.shape[-2] * 8))
        return call(unet, sample, *arguments, **named)

    monkeypatch.setattr(UNet2DConditionModel, "__call__", counting)
    return seen


@pytest.fixture(params=["cpu", "queues"])
def both(
    request: pytest.FixtureRequest, engine: Engine, settings: Settings, catalogue: Catalogue,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Engine]:  # fmt: skip
    """The engine on a device that does what it is given at once, and on one that queues."""
    if request.param == "cpu":
        yield engine
        return
    with monkeypatch.context() as patched:
        patched.setattr("worker.engine.engine.pick_device", lambda _: StandIn("cpu", Clock(pass_s=0.0)))
        other = Engine(settings, catalogue)
    other.start()
    yield other
    other.stop()


@pytest.mark.parametrize("upscaler", ["lanczos", "latent"])
def test_both_passes_are_told_as_one(
    upscaler: str, both: Engine, request_for: Build, sizes: list[tuple[int, int, int]]
) -> None:
    """Given an image in two passes, when it is made, then its steps are counted through both, previews come of both,
    and the second runs at the full size."""
    steps: list[tuple[int, int]] = []
    previews: list[tuple[int, int]] = []
    wanted = request_for(steps=6, **two_passes(upscaler, steps=5, strength=0.8))
    ticket = both.submit(wanted, lambda *step: steps.append(step), lambda image: previews.append(image.size))

    made = ticket.result(60)

    assert made.image.size == (96, 128)
    assert made.warnings == ()
    assert steps == [(step, 10) for step in range(1, 11)]
    assert sizes == [(2, 64, 64)] * 6 + [(2, 96, 128)] * 4
    assert previews == [(8, 8), (8, 8), (12, 16)]


def doubling(piece: Image.Image) -> Image.Image:
    """As a network that repeats pixels."""
    return piece.resize((piece.width * 2, piece.height * 2), Image.Resampling.NEAREST)


def test_a_network_enlarges_between_the_passes(
    both: Engine, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a network between two passes, when an image is made, then its tiles are counted in the one progress, each
    is made on the engine's thread, and the image is that of the filter which does the same."""
    threads: list[str] = []

    def network(name: str) -> TiledNetwork:
        assert name == "2x-any"

        def enlarge(piece: Image.Image) -> Image.Image:
            threads.append(threading.current_thread().name)
            return doubling(piece)

        return TiledNetwork(2, 32, enlarge)

    monkeypatch.setattr(both.networks, "tiled", network)
    double = {"width": 128, "height": 128, "steps": 3}
    passes = Hires(64, 64, 4, 0.6, "2x-any")
    steps: list[tuple[int, int]] = []
    asked = request_for(**double, hires=passes)
    made = both.submit(asked, lambda *step: steps.append(step)).result(60)

    assert steps == [(step, 9) for step in range(1, 10)], "3 evaluations, 4 tiles, 2 evaluations"
    assert threads == ["engine"] * 4
    assert made.warnings == ()
    alike = both.submit(request_for(**double, hires=replace(passes, upscaler="nearest")), silent).result(60)
    assert decibels(made.image, alike.image) >= SAME


@pytest.mark.parametrize("ending", ["cancelled", "failing"])
def test_a_network_is_ended_amid_its_tiles(
    ending: str, both: Engine, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a network between two passes, when its job is cancelled or it fails amid its tiles, then that request ends
    there, and others go on."""
    tiles: list[int] = []
    tickets: list[Ticket] = []
    submitted = threading.Event()

    def enlarge(piece: Image.Image) -> Image.Image:
        tiles.append(1)
        if len(tiles) == 2:
            if ending == "failing":
                raise NotAnImage("nothing")
            assert submitted.wait(60)
            tickets[0].cancel()
        return doubling(piece)

    monkeypatch.setattr(both.networks, "tiled", lambda _: TiledNetwork(2, 32, enlarge))
    passes = Hires(64, 64, 4, 0.6, "2x-any")
    other = both.submit(request_for(steps=30), silent)
    tickets.append(both.submit(request_for(width=128, height=128, hires=passes), silent))
    submitted.set()
    with pytest.raises(JobCancelled if ending == "cancelled" else NotAnImage):
        tickets[0].result(60)
    assert len(tiles) == 2
    assert other.result(60).image


def test_a_network_that_is_not_here_fails_before_anything_is_drawn(
    engine: Engine, request_for: Build, sizes: list[tuple[int, int, int]]
) -> None:
    """Given two passes with a network that the worker has not, when it begins, then it is refused without a pass."""
    with pytest.raises(ModelUnavailable, match="No upscaler is called 'gone'"):
        engine.submit(request_for(**two_passes("gone")), silent).result(60)
    assert sizes == []


@pytest.mark.parametrize("upscaler", ["lanczos", "latent"])
def test_a_step_of_noise_alone_in_the_second_pass_leaves_nothing_of_the_first(
    upscaler: str, engine: Engine, request_for: Build
) -> None:
    """Given strength 1, when an image has two passes, then it is the one of a single pass with the second's steps."""
    made = engine.submit(request_for(**two_passes(upscaler, steps=3, strength=1.0)), silent).result(60)
    alone = engine.submit(request_for(**LARGE, steps=3), silent).result(60)
    assert made.image.tobytes() == alone.image.tobytes()


def test_an_adaptive_sampler_is_told_of_once(engine: Engine, request_for: Build) -> None:
    """Given a sampler that chooses its own steps, when it draws in two passes, then the evaluations of both are told,
    and none is promised before its time."""
    steps: list[tuple[int, int]] = []
    wanted = request_for(sampler="k_dpm_ad", **two_passes())
    made = engine.submit(wanted, lambda *step: steps.append(step)).result(60)
    assert [step for step, _ in steps] == list(range(1, len(steps) + 1))
    assert all(step < of for step, of in steps[:-1])
    assert steps[-1][0] == steps[-1][1]
    assert [text for text in made.warnings if f"chose {len(steps)} evaluations" in text]


def test_an_image_in_two_passes_does_not_depend_on_who_shares_them(
    both: Engine, request_for: Build, sizes: list[tuple[int, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given requests of one pass and of two, of both sizes, from noise and from images, when they run together, then
    they share passes, and each is what it is alone."""
    monkeypatch.setattr(StepTimes, "share", lambda _, items: len(items))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (128, 96, 3), dtype=np.uint8))
    requests = [
        request_for(steps=3, **two_passes("lanczos")),
        request_for(steps=4, **two_passes("latent"), noise_seed=1, step_seed=1),
        request_for(steps=4, **two_passes("latent", strength=0.9), sampler="k_euler_a", noise_seed=2, step_seed=3),
        request_for(steps=2, **two_passes("lanczos", steps=6), sampler="k_heun", guidance_scale=1.0),
        request_for(steps=12, **SMALL, sampler="k_euler"),
        request_for(steps=12, **LARGE, guidance_until=0.5),
        request_for(steps=12, **LARGE, init_image=image, strength=0.7, noise_seed=9, step_seed=9),
    ]
    solo = [both.submit(request, silent).result(60) for request in requests]
    sizes.clear()
    begun, go_on = threading.Event(), threading.Event()

    def hold(step: int, _steps: int) -> None:
        begun.set()
        if step == 1:
            go_on.wait(60)

    first = both.submit(request_for(steps=20, **LARGE), hold)
    assert begun.wait(60)
    tickets = [both.submit(request, silent) for request in requests]
    go_on.set()
    together = [ticket.result(60) for ticket in tickets]
    first.result(60)

    assert max(items for items, *size in sizes if size == [64, 64]) > 4
    assert max(items for items, *size in sizes if size == [96, 128]) > 4, "the second passes shared with others"
    for number, (one, two) in enumerate(zip(solo, together, strict=True)):
        assert decibels(one.image, two.image) >= SAME, number


@pytest.mark.parametrize("upscaler", ["lanczos", "latent"])
@pytest.mark.parametrize("at", [2, 5])
def test_a_cancel_ends_either_pass(upscaler: str, at: int, both: Engine, request_for: Build) -> None:
    """Given an image in two passes, when it is cancelled in the first or in the second, then it ends there, and the
    engine goes on."""
    steps: list[int] = []
    tickets: list[Ticket] = []
    submitted = threading.Event()

    def listen(step: int, _steps: int) -> None:
        steps.append(step)
        assert submitted.wait(60)
        if step == at:
            tickets[0].cancel()

    tickets.append(both.submit(request_for(steps=4, **two_passes(upscaler, steps=8)), listen))
    submitted.set()
    with pytest.raises(JobCancelled):
        tickets[0].result(60)
    assert steps == list(range(1, at + 1))
    assert both.submit(request_for(), silent).result(60).image


@pytest.mark.parametrize("upscaler", ["lanczos", "latent"])
def test_what_fails_between_the_passes_ends_its_request_alone(
    upscaler: str, both: Engine, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a second pass that cannot begin, when its first one is done, then that request fails, and no other."""
    wanted = request_for(**two_passes(upscaler))
    other = both.submit(request_for(steps=30), silent)
    with monkeypatch.context() as patched:
        if upscaler == "latent":
            patched.setattr("worker.engine.beginning.enlarged", _nothing)
        else:
            patched.setattr("worker.engine.running.resized", _nothing)
        with pytest.raises(NotAnImage):
            both.submit(wanted, silent).result(60)
    assert other.result(60).image
    assert both.submit(wanted, silent).result(60).image.size == (96, 128)


def _nothing(*_: Any) -> Any:
    raise NotAnImage("nothing")


def test_a_first_pass_that_no_model_can_draw_is_refused(engine: Engine, request_for: Build) -> None:
    """Given sizes that the model cannot draw, or an input image, when submitted, then the request is refused."""
    for wrong in (
        request_for(**two_passes(first_width=65)),
        request_for(**two_passes(), init_image=Image.new("RGB", (96, 128))),
    ):
        with pytest.raises(InvalidRequest) as refused:
            engine.submit(wrong, silent)
        assert list(refused.value.fields) == ["hires"]
