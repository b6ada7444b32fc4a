"""Recordings of forward passes: what Python computes, to the bit; made when they pay, left alone where they fail."""

import threading
from collections.abc import Iterator, Mapping

import pytest
import torch

from worker.acceleration import traced
from worker.acceleration.split_batch import Sharing, SplitBatch, run_whole
from worker.acceleration.traced import Traced, recorded

STEPS = 500.0


class Small(torch.nn.Module):
    """A denoiser that mixes all that it is told; it counts how often Python computes it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = torch.nn.Conv2d(4, 8, 3, padding=1), torch.nn.Conv2d(8, 4, 3, padding=1)
        self.text = torch.nn.Linear(6, 8)
        self.calls = 0

    def forward(self, latents: torch.Tensor, timesteps: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        told = self.text(text).mean(1) * torch.cos(timesteps / STEPS).unsqueeze(1)
        mixed: torch.Tensor = self.last(torch.nn.functional.silu(self.first(latents) + told[:, :, None, None]))
        return mixed


def denoise_with(
    denoiser: Small, latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    prediction: torch.Tensor = denoiser(latents, timesteps, conditioning["text"])
    return prediction


def inputs(items: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, Mapping[str, torch.Tensor]]:
    random = torch.Generator().manual_seed(seed)
    latents, text = torch.randn(items, 4, 8, 8, generator=random), torch.randn(items, 5, 6, generator=random)
    return latents, torch.rand(items, generator=random) * 2 * STEPS, {"text": text}


@pytest.fixture
def small() -> Small:
    torch.manual_seed(0)
    return Small().eval()


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def settled() -> None:
    """Return when all recordings that were begun are made."""
    traced._recorder.submit(lambda: None).result(60)


def test_a_recording_is_made_when_it_is_prepared_and_changes_no_bit(small: Small) -> None:
    """Given a shape that was prepared, when it comes, then Python computes it no more, and what comes out is the same
    in every bit; an image size that was not prepared is Python's for ever."""
    run = Traced(small, run_whole)
    wanted = [denoise_with(small, *inputs(2, seed)) for seed in range(4)]
    with run.preparing():
        run(lambda *given: denoise_with(small, *given), *inputs(2))
    small.calls = 0
    for seed in range(4):
        assert torch.equal(run(lambda *given: denoise_with(small, *given), *inputs(2, seed)), wanted[seed])
    assert small.calls == 0
    for _ in range(3):
        latents, timesteps, conditioning = inputs(2)
        run(lambda *given: denoise_with(small, *given), latents[:, :, :4], timesteps, conditioning)
        settled()
    assert small.calls == 3


def test_other_batches_of_a_prepared_size_follow_when_they_come_often(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a size that was prepared for one item, when three items come three times, then they are recorded too."""
    monkeypatch.setattr(traced, "_PASSES_BEFORE", 3)
    run = Traced(small, run_whole)
    with run.preparing():
        run(lambda *given: denoise_with(small, *given), *inputs(1))
    wanted = denoise_with(small, *inputs(3))
    for _ in range(3):
        small.calls = 0
        run(lambda *given: denoise_with(small, *given), *inputs(3))
        assert small.calls >= 1
    settled()
    small.calls = 0
    assert torch.equal(run(lambda *given: denoise_with(small, *given), *inputs(3)), wanted)
    assert small.calls == 0


def test_the_parts_of_a_batch_are_replayed_at_the_same_time(small: Small) -> None:
    """Given a batch that is shared out among threads, when its parts are recorded, then the whole is the same."""
    whole = denoise_with(small, *inputs(4))
    run = Traced(small, SplitBatch(1, lambda *_: Sharing(2, 1)))
    with run.preparing():
        run(lambda *given: denoise_with(small, *given), *inputs(4))
    small.calls = 0
    assert torch.allclose(run(lambda *given: denoise_with(small, *given), *inputs(4)), whole, atol=1e-6)
    assert small.calls == 0


class Deciding(Small):
    """A denoiser that does one thing or another, as its latents are: no recording can say both."""

    def forward(self, latents: torch.Tensor, timesteps: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        mixed = super().forward(latents, timesteps, text)
        return mixed if float(latents.abs().max()) > 100 else -mixed


def test_a_recording_that_computes_something_else_is_refused() -> None:
    """Given a pass that depends on values, when it is recorded, then an error says so, and Python goes on with it."""
    deciding = Deciding().eval()
    latents, timesteps, conditioning = inputs(2)
    module = traced._Pass(deciding, lambda *given: denoise_with(deciding, *given), ("text",))
    with pytest.raises(RuntimeError, match="something else"):
        recorded(module, (latents * 40, timesteps, conditioning["text"]))
    run = Traced(deciding, run_whole)
    with run.preparing():
        run(lambda *given: denoise_with(deciding, *given), latents * 40, timesteps, conditioning)
    for scale in (40.0, 1.0):
        given = (latents * scale, timesteps, conditioning)
        wanted = denoise_with(deciding, *given)
        assert torch.equal(run(lambda *given: denoise_with(deciding, *given), *given), wanted)


def test_what_cannot_be_recorded_is_computed_as_before(small: Small, caplog: pytest.LogCaptureFixture) -> None:
    """Given a tracer that fails, when passes come, then they are computed, and the log says it once."""
    run = Traced(small, run_whole)
    with pytest.MonkeyPatch.context() as patched, run.preparing():
        patched.setattr(traced, "recorded", lambda *_: (_ for _ in ()).throw(ValueError("no tracer")))
        for seed in range(4):
            given = inputs(2, seed)
            assert torch.equal(run(lambda *given: denoise_with(small, *given), *given), denoise_with(small, *given))
    assert caplog.text.count("could not be recorded") == 1


def test_a_few_recordings_are_kept(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given room for two, when a third shape is recorded, then the one that was used longest ago is forgotten."""
    monkeypatch.setattr(traced, "_KEPT", 2)
    run = Traced(small, run_whole)
    with run.preparing():
        for items in (1, 2, 1, 3):
            run(lambda *given: denoise_with(small, *given), *inputs(items))
    small.calls = 0
    for items in (1, 3):
        run(lambda *given: denoise_with(small, *given), *inputs(items))
    assert small.calls == 0
    run(lambda *given: denoise_with(small, *given), *inputs(2))
    assert small.calls == 1


def test_passes_go_on_while_a_recording_is_made(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a recorder at work, when passes of a shape come that is to be recorded, then they do not wait for it."""
    monkeypatch.setattr(traced, "_PASSES_BEFORE", 1)
    run, release = Traced(small, run_whole), threading.Event()
    with run.preparing():
        run(lambda *given: denoise_with(small, *given), *inputs(1))
    traced._recorder.submit(release.wait, 60)
    try:
        for seed in range(3):
            given = inputs(2, seed)
            assert torch.equal(run(lambda *given: denoise_with(small, *given), *given), denoise_with(small, *given))
    finally:
        release.set()
    settled()
