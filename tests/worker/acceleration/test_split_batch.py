"""The items of a batch are shared out among the cores, and come back as they would have come from one."""

import gc
import threading
import weakref
from collections.abc import Iterator, Mapping

import pytest
import torch

from worker.acceleration.split_batch import RunBatch, Sharing, SplitBatch, run_whole, sharing

_SIZE = (4, 64, 64)
_WEIGHTS = 1_000_000


class Unet(torch.nn.Module):
    """Adds up what belongs to a item; notes the items and threads of each call. `meet`: calls wait for one another."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[int, int]] = []
        self.meet: threading.Barrier | None = None

    def denoise(
        self, latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        self.calls.append((len(latents), torch.get_num_threads()))
        if self.meet:
            self.meet.wait(30)
        if timesteps.max() > 1000:
            raise RuntimeError("out of memory")
        told = conditioning["text"].mean(dim=(1, 2)) + conditioning["pooled"].mean(dim=1)
        return latents + (timesteps + told).view(-1, 1, 1, 1)


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def call(run: RunBatch, unet: Unet, timesteps: list[int]) -> torch.Tensor:
    items = len(timesteps)
    text = torch.arange(items * 6.0).view(items, 2, 3)
    pooled = torch.arange(items * 5.0).view(items, 5)
    return run(unet.denoise, torch.zeros(items, *_SIZE), torch.tensor(timesteps), {"text": text, "pooled": pooled})


def test_every_row_gets_what_belongs_to_it(three_threads: None) -> None:
    """Given items of every kind, when they are shared out unevenly, then each has its own result, in its place."""
    unet, plain, run = Unet(), Unet(), SplitBatch(_WEIGHTS)
    for items in (1, 2, 5):
        expected = call(run_whole, plain, list(range(items)))
        torch.testing.assert_close(call(run, unet, list(range(items))), expected, rtol=0, atol=0)
    unet.meet = threading.Barrier(3)
    expected = call(run_whole, plain, list(range(7)))
    torch.testing.assert_close(call(run, unet, list(range(7))), expected, rtol=0, atol=0)
    assert sorted(unet.calls[-3:]) == [(2, 1), (2, 1), (3, 1)]
    assert torch.get_num_threads() == 3, "the caller's number stays"


def test_a_part_that_fails_fails_the_call_when_all_have_ended(three_threads: None) -> None:
    """Given a item that cannot be computed, when it is called, then its error is raised; the next call is fine."""
    unet, run = Unet(), SplitBatch(_WEIGHTS)
    with pytest.raises(RuntimeError, match="out of memory"):
        call(run, unet, [1001, 1, 1, 1, 1, 1])
    assert len(unet.calls) == 3
    assert float(call(run, unet, [2]).max()) == pytest.approx(6.5)


def test_a_model_that_is_put_away_leaves_at_once(three_threads: None) -> None:
    """Given a UNet that was called, when nobody holds it any more, then it is gone, not when garbage is collected."""
    gc.disable()
    try:
        unet, run = Unet(), SplitBatch(_WEIGHTS)
        call(run, unet, [1, 2, 3, 4, 5])
        left = weakref.ref(unet)
        del unet
        assert left() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("work", "items", "threads", "wanted"),
    [
        (1, 2, 4, Sharing(parts=1, threads=1)),  # nothing to gain
        (10**10, 2, 2, Sharing(parts=2, threads=1)),
        (10**10, 16, 2, Sharing(parts=2, threads=1)),
        (10**10, 1, 2, Sharing(parts=1, threads=1)),  # one item alone, too small for two threads
        (10**12, 1, 4, Sharing(parts=1, threads=4)),
        (10**12, 2, 8, Sharing(parts=2, threads=4)),  # SD 1.x at 192 pixels
        (10**12, 3, 8, Sharing(parts=3, threads=2)),
        (10**12, 8, 1, Sharing(parts=1, threads=1)),
    ],
)
def test_as_many_parts_and_threads_as_pay(work: int, items: int, threads: int, wanted: Sharing) -> None:
    """Given a call's work and items and the threads there are, when shared, then no more threads are used than pay."""
    assert sharing(work, items, threads) == wanted
    assert wanted.parts * wanted.threads <= threads
