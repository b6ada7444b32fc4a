"""Decoding on a device that queues: beside the passes, which do not wait for it."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from shared.catalogue.models import Catalogue
from shared.errors import InternalError, JobCancelled, NotAnImage
from shared.jobs.signals import WorkerStopping
from shared.settings import Settings
from tests.worker.engine.stand_in import Clock, StandIn
from worker.engine import Denoised, DenoiseRequest, Engine, Ticket
from worker.engine import running as running_requests
from worker.engine.step_times import StepTimes
from worker.families import FAMILIES
from worker.hardware.variants import PROFILES
from worker.vae.tiling import TiledVae

Build = Callable[..., DenoiseRequest]
ToPixels = Callable[[Any, torch.Tensor], torch.Tensor]
PLAIN = FAMILIES["sd1"].to_pixels


def silent(_step: int, _steps: int) -> None:
    """Nobody listens."""


@pytest.fixture
def clock() -> Clock:
    return Clock(pass_s=0.0)


@pytest.fixture
def queueing(
    clock: Clock, settings: Settings, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    """An engine on a device that queues."""
    with monkeypatch.context() as patched:
        patched.setattr("worker.engine.engine.pick_device", lambda _: StandIn("cpu", clock))
        engine = Engine(settings, catalogue)
    engine.start()
    yield engine
    clock.done_beside.set()
    engine.stop()


def decoding(to_pixels: ToPixels, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all families decode so."""
    families = {name: replace(family, to_pixels=to_pixels) for name, family in FAMILIES.items()}
    monkeypatch.setattr(running_requests, "FAMILIES", families)


def begun(engine: Engine, clock: Clock, request_for: Build) -> tuple[Ticket, Ticket]:
    """A short request whose decoding the device is at and does not end, and a long one that has made steps since."""
    clock.done_beside.clear()
    later = threading.Event()

    def hear(step: int, _steps: int) -> None:
        if step == 12:
            later.set()

    with engine._inbox.changed:
        short = engine.submit(request_for(steps=2), silent)
        long = engine.submit(request_for(steps=500, noise_seed=7), hear)
    assert later.wait(60)
    assert not short.outcome.done()
    return short, long


def result(ticket: Ticket) -> Denoised:
    return ticket.result(60)


def test_passes_go_on_while_an_image_is_decoded(queueing: Engine, clock: Clock, request_for: Build) -> None:
    """Given an image that the device is long at, when another request runs, then that makes its steps meanwhile; and
    when the device is done, then the image is there while the other still runs."""
    short, long = begun(queueing, clock, request_for)
    clock.done_beside.set()
    assert result(short).image.size == (64, 64)
    assert not long.outcome.done()
    long.cancel()


def test_the_image_is_the_same(queueing: Engine, engine: Engine, request_for: Build) -> None:
    """Given requests, when one engine decodes beside the passes and one between them, then the images are equal."""
    for different in ({}, {"sampler": "k_euler_a"}, {"noise_seed": 3, "guidance_scale": 1.0}):
        request = request_for(**different)
        beside, between = (result(one.submit(request, silent)) for one in (queueing, engine))
        assert beside.image.tobytes() == between.image.tobytes()
        assert (beside.used, beside.warnings) == (between.used, between.warnings)


def test_more_images_than_the_device_takes_at_once_all_end(
    queueing: Engine, clock: Clock, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given room for one image in a slice and two under way, when six end together, then never more are under way, and
    each request has its own."""
    monkeypatch.setattr("worker.engine.decoding_beside.PIXELS_AT_ONCE", 64 * 64)
    monkeypatch.setattr("worker.engine.decoding_beside._PIXELS_UNDER_WAY", 2 * 64 * 64)
    monkeypatch.setattr("worker.engine.admission._ADMISSION_S", 60.0)
    monkeypatch.setattr(StepTimes, "share", lambda _, items: len(items))
    most: list[int] = []
    two = threading.Event()

    def counted(vae: Any, latents: torch.Tensor) -> torch.Tensor:
        most.append(len(queueing._decoder._under_way))  # type: ignore[attr-defined]  # those before this one
        if len(most) == 2:
            two.set()
        return PLAIN(vae, latents)

    decoding(counted, monkeypatch)
    clock.done_beside.clear()
    with queueing._inbox.changed:
        tickets = [queueing.submit(request_for(noise_seed=seed), silent) for seed in range(6)]
    assert two.wait(60)
    clock.done_beside.set()
    assert len({result(ticket).image.tobytes() for ticket in tickets}) == 6
    assert max(most) == 1


def test_a_request_that_is_cancelled_while_it_is_decoded_ends_at_once(
    queueing: Engine, clock: Clock, request_for: Build
) -> None:
    """Given an image that the device is at, when its request is cancelled, then that ends before the device has done
    it, and later requests are served."""
    short, long = begun(queueing, clock, request_for)
    short.cancel()
    with pytest.raises(JobCancelled):
        result(short)
    long.cancel()
    clock.done_beside.set()
    assert result(queueing.submit(request_for(), silent)).image
    assert not queueing._decoder.busy


def test_an_engine_stops_while_an_image_is_decoded(queueing: Engine, clock: Clock, request_for: Build) -> None:
    """Given an image that the device is at, when the engine stops, then it waits for nothing and gives its requests
    back."""
    tickets = begun(queueing, clock, request_for)
    queueing.stop()
    for ticket in tickets:
        with pytest.raises(WorkerStopping):
            result(ticket)


def test_a_decoder_that_fails_ends_its_own_request_only(
    queueing: Engine, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a decoder that fails for one size, when three requests are decoded, then that one fails, the others have
    their images, and decoding goes on beside the passes."""

    def failing(vae: Any, latents: torch.Tensor) -> torch.Tensor:
        if latents.shape[-1] == 16:
            raise RuntimeError("no such size")
        return PLAIN(vae, latents)

    decoding(failing, monkeypatch)
    with queueing._inbox.changed:
        tickets = [queueing.submit(request_for(width=width), silent) for width in (64, 128, 64)]
    with pytest.raises(InternalError):
        result(tickets[1])
    assert all(result(ticket).image for ticket in (tickets[0], tickets[2]))
    assert queueing.remarks() == ()


def test_no_number_is_no_image(queueing: Engine, request_for: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a decoder that gives NaN, when an image is decoded beside the passes, then the request fails by name."""
    decoding(lambda vae, latents: PLAIN(vae, latents) * torch.nan, monkeypatch)
    with pytest.raises(NotAnImage, match="VAE"):
        result(queueing.submit(request_for(), silent))


def test_a_decoder_that_overflows_is_queued_once(
    settings: Settings, catalogue: Catalogue, clock: Clock, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a decoder that overflows in 16 bits, when images are decoded, then float32 makes them, with a warning, and
    only the first is queued beside the passes in vain."""
    tried: list[torch.dtype] = []

    def overflowing(vae: Any, latents: torch.Tensor) -> torch.Tensor:
        tried.append(latents.dtype)
        return PLAIN(vae, latents) * (torch.inf if latents.dtype == torch.bfloat16 else 1.0)

    monkeypatch.setattr("worker.engine.engine.pick_device", lambda _: StandIn("cpu", clock))
    decoding(overflowing, monkeypatch)
    engine = Engine(settings, catalogue)  # of its own: the weights are rounded for good
    engine.start()
    assert result(engine.submit(request_for(), silent)).warnings == ()
    (checkpoint,) = engine._cache._loaded.values()
    checkpoint.parts.vae.to(torch.bfloat16)
    tried.clear()
    for _ in range(2):
        assert "float32" in " ".join(result(engine.submit(request_for(), silent)).warnings)
    assert tried == [torch.bfloat16, *[torch.bfloat16, torch.float32] * 2]
    engine.stop()


def test_a_decoder_without_room_takes_tiles(
    queueing: Engine, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given no memory for a whole image, when it is decoded beside the passes, then it is made in tiles, with a
    warning, and the next one has a try beside the passes."""

    def full(vae: Any, latents: torch.Tensor) -> torch.Tensor:
        if not isinstance(vae, TiledVae):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return PLAIN(vae, latents)

    decoding(full, monkeypatch)
    made = result(queueing.submit(request_for(), silent))
    assert [warning for warning in made.warnings if "tiles" in warning]
    assert queueing.remarks() == ()


def test_a_device_whose_second_queue_fails_decodes_between_the_passes(
    queueing: Engine,
    engine: Engine,
    request_for: Build,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Given a second queue that fails, when an image is decoded, then it is made all the same, now and later, and log
    and card say so."""

    def fail(*_: torch.Tensor) -> Any:
        raise RuntimeError("no stream today")

    monkeypatch.setattr("tests.worker.engine.stand_in._Lane.using", fail)
    wanted = result(engine.submit(request_for(), silent)).image.tobytes()
    for _ in range(2):
        assert result(queueing.submit(request_for(), silent)).image.tobytes() == wanted
    assert "beside the passes" in " ".join(queueing.remarks())
    assert len([record for record in caplog.records if "no stream today" in str(record.exc_info)]) == 1


def test_parts_that_come_and_go_are_decoded_in_their_turn(
    clock: Clock, settings: Settings, catalogue: Catalogue, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a variant that moves parts to the device and back, when an image is made, then nothing is queued beside."""
    monkeypatch.setattr("worker.engine.engine.pick_device", lambda _: StandIn("cpu", clock))
    monkeypatch.setattr("worker.engine.engine.profile_for", lambda *_: PROFILES["optimized"])
    monkeypatch.setattr("tests.worker.engine.stand_in._Lane.using", None)
    engine = Engine(settings, catalogue)
    engine.start()
    assert result(engine.submit(request_for(), silent)).image
    engine.stop()
