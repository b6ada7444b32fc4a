"""A VAE that runs out of memory: once more in tiles, with a warning; only then is the request given up."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image

from shared.errors import OutOfMemory
from tests.images import decibels
from worker.engine import DenoiseRequest, Engine

Build = Callable[..., DenoiseRequest]


def silent(_step: int, _steps: int) -> None:
    """Nobody listens."""


class SmallVae:
    """A VAE whose encoder and decoder take `side` latents a side at most."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from diffusers.models.autoencoders.vae import Decoder, Encoder

        self.side = 1000
        self.refused = 0
        for kind, factor in ((Encoder, 8), (Decoder, 1)):
            self._limit(kind, factor, monkeypatch)

    def _limit(self, kind: Any, factor: int, monkeypatch: pytest.MonkeyPatch) -> None:
        forward = kind.forward

        def limited(part: Any, sample: torch.Tensor, *arguments: Any, **named: Any) -> Any:
            if max(sample.shape[2:]) > self.side * factor:
                self.refused += 1
                raise torch.OutOfMemoryError("CUDA out of memory")
            return forward(part, sample, *arguments, **named)

        monkeypatch.setattr(kind, "forward", limited)


@pytest.fixture
def small_vae(monkeypatch: pytest.MonkeyPatch) -> SmallVae:
    return SmallVae(monkeypatch)


@pytest.mark.parametrize("init_image", [None, Image.new("RGB", (96, 64), "teal")], ids=["txt2img", "img2img"])
def test_an_image_that_does_not_fit_into_the_vae_is_made_in_tiles(
    init_image: Image.Image | None, fresh: Engine, small_vae: SmallVae, request_for: Build
) -> None:
    """Given memory for small tiles only, when an image is made, then it succeeds, much the same, with a warning each
    for the encoder and the decoder; and when the memory is back, then images are as before."""
    request = request_for(width=96, height=64, init_image=init_image, strength=0.6)
    whole = fresh.submit(request, silent).result(60)
    small_vae.side = 4
    tiled = fresh.submit(request, silent).result(60)
    done = ("decoded",) if init_image is None else ("encoded", "decoded")
    assert small_vae.refused == len(done)
    assert tiled.warnings == tuple(f"memory: it did not suffice, so the image was {how} in tiles." for how in done)
    assert decibels(whole.image, tiled.image) >= 15  # of a decoder with random weights, whose tiles hardly fit together
    small_vae.side = 1000
    again = fresh.submit(request, silent).result(60)
    assert (again.image.tobytes(), again.warnings) == (whole.image.tobytes(), ())


def test_an_image_that_fits_not_even_in_tiles_fails_alone(
    fresh: Engine, small_vae: SmallVae, request_for: Build
) -> None:
    """Given memory for nothing, when an image is decoded, then it ends with OutOfMemory after two tries, and the next
    one is served."""
    small_vae.side = 1
    with pytest.raises(OutOfMemory):
        fresh.submit(request_for(), silent).result(60)
    assert small_vae.refused == 2
    small_vae.side = 1000
    assert fresh.submit(request_for(), silent).result(60).warnings == ()


def test_what_is_not_about_memory_is_not_tried_again(
    fresh: Engine, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a decoder that breaks, when an image is decoded, then the request fails at once."""
    from diffusers import AutoencoderKL

    tries: list[int] = []

    def broken(*_: Any, **__: Any) -> None:
        tries.append(1)
        raise RuntimeError("a broken kernel")

    monkeypatch.setattr(AutoencoderKL, "decode", broken)
    ticket = fresh.submit(request_for(), silent)
    assert ticket.outcome.exception(60) is not None
    assert len(tries) == 1
