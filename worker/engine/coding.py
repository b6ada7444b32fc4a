"""Images to latents and latents to images, as one request needs it."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from PIL import Image

from shared.errors import NotAnImage
from shared.request.sampling import SamplingParams
from worker.families import Family
from worker.models.checkpoint import Checkpoint
from worker.models.vaes import Codec
from worker.vae.overflow import widened_if_needed
from worker.vae.pixels import to_image, to_tensor
from worker.vae.tiling import fitting, tiled_if_needed

T = TypeVar("T")


class Coding:
    """The VAE of a request: in tiles where the image is large or memory short, in float32 where 16 bits overflow.

    `warnings` gets what is to be said about it.
    """

    def __init__(
        self, checkpoint: Checkpoint, family: Family, codec: Codec, params: SamplingParams, warnings: list[str]
    ) -> None:
        self._checkpoint = checkpoint
        self._codec = codec
        self._family = family
        self._pixels = params.width * params.height
        self._seamless = params.tiling
        self._warnings = warnings

    def encoded(self, image: Image.Image | torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The scaled latents of an image, or of its pixels `(1, 3, H, W)` in -1..1: float32 on the device, drawn from
        `generator`. Raises NotAnImage."""
        pixels = image if isinstance(image, torch.Tensor) else to_tensor(image)
        state = generator.get_state()

        def encoded_by(vae: Any) -> torch.Tensor:
            # a second try must draw what the first would have drawn
            generator.set_state(state)
            there = self._checkpoint.device.send(pixels.to(vae.dtype))
            return self._family.to_latents(vae, there, generator).float()

        return self._in_tiles_if_needed(
            "encoded", self._codec.encoder, lambda vae: self._numbers_of("encoder", vae, encoded_by)
        )

    @property
    def decoder(self) -> Any:
        """What makes the image of the final latents, in tiles where it is large."""
        return fitting(self._checkpoint, self._codec.decoder, self._pixels, self._seamless)

    def decoded(self, latents: torch.Tensor, decoder: Any) -> Image.Image:
        """Latents `(1, C, h, w)` as an image. On a CPU it touches nothing else: several can be decoded at a time.

        A decoder that overflows in 16 bits has one more try in float32. Raises NotAnImage.
        """
        latents = finite(latents, "UNet", self._checkpoint).to(self._checkpoint.device.name)
        pixels = self._numbers_of("decoder", decoder, lambda vae: self._family.to_pixels(vae, latents.to(vae.dtype)))
        return to_image(pixels)

    def in_tiles_if_needed(self, decode: Callable[[Any], Image.Image]) -> Image.Image:
        """What `decode` makes with the decoder; after running out of memory once more, in tiles."""
        return self._in_tiles_if_needed("decoded", self._codec.decoder, decode)

    def _numbers_of(self, half: str, vae: Any, call: Callable[[Any], torch.Tensor]) -> torch.Tensor:
        """What `call` makes with that half of the VAE, in float32 where 16 bits overflow. Raises NotAnImage."""
        made, widened = widened_if_needed(vae, call)
        if widened:
            self._warnings.append(f"precision: the {half} overflowed in 16 bits, so it ran once more in float32.")
        return finite(made, "VAE", self._checkpoint)

    def _in_tiles_if_needed(self, done: str, vae: Any, call: Callable[[Any], T]) -> T:
        """What `call` makes with the VAE; after running out of memory in tiles, which is reported as `done` so."""
        result, in_tiles = tiled_if_needed(self._checkpoint, vae, self._pixels, self._seamless, call)
        if in_tiles:
            self._warnings.append(f"memory: it did not suffice, so the image was {done} in tiles.")
        return result


def finite(values: torch.Tensor, part: str, checkpoint: Checkpoint) -> torch.Tensor:
    """`values` if all of them are numbers; else raises NotAnImage, naming the part of the model that made them."""
    if values.isfinite().all():
        return values
    raise not_an_image(part, checkpoint)


def not_an_image(part: str, checkpoint: Checkpoint) -> NotAnImage:
    """The error of a part of the model whose values are no numbers."""
    remedy = "its file is broken: fetch it again"
    if checkpoint.denoiser_dtype != torch.float32:
        remedy = 'ask for precision "full"; if that is no help, its file is broken'
    return NotAnImage(
        f"The {part} of the model '{checkpoint.model.name}' gave values that are no numbers (NaN): {remedy}."
    )
