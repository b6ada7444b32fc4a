"""Large images in tiles: a VAE sees a part at a time, which overlap, and are blended into each other.

A tile is as large as the images that the VAE was trained with, and a quarter of it overlaps with the next. Within that
quarter the weight goes over from one tile to the other evenly, and all tiles have the same norms, so that no edge
shows. The norms are those of the whole image made small, and the attention in the middle of a VAE sees its tile alone,
so a tiled image differs a little from one that is decoded whole.
"""

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
import torch.nn.functional as F

from worker.acceleration.circular import circular_twin
from worker.hardware.devices import is_out_of_memory
from worker.models.checkpoint import Checkpoint
from worker.vae.shared_norms import let_learn, with_shared_norms

log = logging.getLogger(__name__)

T = TypeVar("T")
WHOLE_PIXELS = 1024 * 1024
"""Of an image that is decoded whole where memory is not short."""
_COLOURS = 3
# in latent cells; of VAEs that do not say what they were trained with
_USUAL_SIDE = 64
# a side of an image that was made small, with fewer its spread says nothing any more
_FEWEST_CELLS = 16


class TiledVae:
    """Stands in for a diffusers VAE and gives it tiles of `side` latent cells; a batch of one.

    `factor` is how many pixels a side a cell has. With `seamless` the image continues at its opposite edges.
    """

    def __init__(self, vae: Any, side: int, factor: int, seamless: bool = False) -> None:
        self.vae = vae
        self.side = side
        self.factor = factor
        self.seamless = seamless

    @property
    def config(self) -> Any:
        """That of the VAE."""
        return self.vae.config

    @property
    def dtype(self) -> torch.dtype:
        """In which the VAE computes."""
        dtype: torch.dtype = self.vae.dtype
        return dtype

    def float(self) -> "TiledVae":
        """With the VAE in float32, which is changed in place."""
        return TiledVae(self.vae.float(), self.side, self.factor, self.seamless)

    def decode(self, latents: torch.Tensor, return_dict: bool = False) -> tuple[torch.Tensor]:
        """`(1, C, h, w)` -> `((1, 3, H, W),)`, float32; no other form is given."""
        margin = self._margin(latents)
        pixels = self._blended(
            lambda vae, tile: vae.decode(tile, return_dict=return_dict)[0],
            _continued(latents, margin), channels=_COLOURS, down=1, up=self.factor,
        )  # fmt: skip
        return (_cut(pixels, [side * self.factor for side in margin]),)

    def encode(self, pixels: torch.Tensor) -> Any:
        """`(1, 3, H, W)` -> an object whose `latent_dist` is the posterior over latents, as diffusers has it."""
        from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

        cells = pixels[..., :: self.factor, :: self.factor]
        margin = self._margin(cells)
        continued = _continued(pixels, [side * self.factor for side in margin])
        moments = self._blended(
            lambda vae, tile: vae.encode(tile).latent_dist.parameters,
            continued, channels=2 * self.config.latent_channels, down=self.factor, up=1,
        )  # fmt: skip
        return SimpleNamespace(latent_dist=DiagonalGaussianDistribution(_cut(moments, margin).to(pixels.dtype)))

    def _margin(self, cells: torch.Tensor) -> list[int]:
        """How many cells are added on each side of height and width, so that tiles go over the edge."""
        return [min(self.side // 4, length) if self.seamless else 0 for length in cells.shape[2:]]

    def _blended(
        self,
        call: Callable[[Any, torch.Tensor], torch.Tensor],
        source: torch.Tensor,
        *,
        channels: int,
        down: int,
        up: int,
    ) -> torch.Tensor:
        """What `call` makes with the VAE of all tiles of `source`, put together in float32, of so many `channels`. A
        cell is `down` places of the source a side, and `up` of the result."""
        vae = with_shared_norms(self.vae) if self.side >= _FEWEST_CELLS else self.vae
        if vae is not self.vae:
            let_learn(vae, True)
            call(vae, _small(source, self.side * down, down))
            let_learn(vae, False)
        height, width = (length // down for length in source.shape[2:])
        whole = source.new_zeros((1, channels, height * up, width * up), dtype=torch.float32)
        rows, columns = (_Spans(length, self.side) for length in (height, width))
        for row, top in enumerate(rows.begins):
            for column, left in enumerate(columns.begins):
                tile = source[:, :, top * down : (top + rows.side) * down, left * down : (left + columns.side) * down]
                made = call(vae, tile).float()
                weights = rows.weights(row, up, made.device)[:, None] * columns.weights(column, up, made.device)
                place = whole[:, :, top * up : (top + rows.side) * up, left * up : (left + columns.side) * up]
                place += made * weights
        return whole


class _Spans:
    """The tiles along one side of an image of so many cells: where they begin, and how much each counts where."""

    def __init__(self, length: int, side: int) -> None:
        self.side = min(side, length)
        overlap = self.side // 4
        count = 1 if length <= side else -(-(length - overlap) // (self.side - overlap))
        self.begins = [number * (length - self.side) // max(1, count - 1) for number in range(count)]
        self._length = length

    def weights(self, number: int, up: int, device: torch.device) -> torch.Tensor:
        """Of one tile, a value for each place of the result; those of all tiles add up to 1 everywhere."""
        begin = self.begins[number] * up
        places = torch.arange(begin, begin + self.side * up, device=device) + 0.5
        raw = [self._raw(other, up, places) for other in range(len(self.begins))]
        return raw[number] / torch.stack(raw).sum(0)

    def _raw(self, number: int, up: int, places: torch.Tensor) -> torch.Tensor:
        """How far from the tile's edges, within the image, a place is; 0 outside of the tile."""
        begin, end = self.begins[number], self.begins[number] + self.side
        far = self._length * up
        before = places - begin * up if begin else torch.full_like(places, far)
        after = end * up - places if end < self._length else torch.full_like(places, far)
        return torch.minimum(before, after).clamp(0, max(1, self.side // 4) * up)


def _small(values: torch.Tensor, side: int, step: int) -> torch.Tensor:
    """At most so large a side, a multiple of `step`, with the mean and the spread that each channel has."""
    shrink = min(1.0, side / max(values.shape[2:]))
    size = [max(1, round(length * shrink / step)) * step for length in values.shape[2:]]
    small = F.interpolate(values, size=size, mode="area")
    mean, spread = values.mean((2, 3), keepdim=True), values.std((2, 3), keepdim=True)
    now = small.std((2, 3), keepdim=True).clamp(min=1e-6)
    return (small - small.mean((2, 3), keepdim=True)) / now * spread + mean


def _continued(values: torch.Tensor, margin: list[int]) -> torch.Tensor:
    """With so many more on each side, as if it were repeated."""
    down, across = margin
    return F.pad(values, (across, across, down, down), mode="circular") if any(margin) else values


def _cut(values: torch.Tensor, margin: list[int]) -> torch.Tensor:
    down, across = margin
    height, width = values.shape[2:]
    return values[:, :, down : height - down, across : width - across]


def _has_tiles(vae: Any) -> bool:
    """A VAE with a codebook gives no posterior that could be blended."""
    return not hasattr(vae, "quantize")


def fitting(checkpoint: Checkpoint, vae: Any, pixels: int, seamless: bool) -> Any:
    """The VAE as an image of so many pixels needs it: in tiles where memory is short for what is larger than the images
    that it was trained with, else from `WHOLE_PIXELS` on; with circular convolutions where it is to be `seamless`."""
    side, factor = _side(checkpoint, vae), checkpoint.model.facts.downsampling_factor
    most = (side * factor) ** 2 if checkpoint.saves_memory else WHOLE_PIXELS
    if pixels > most and _has_tiles(vae):
        return TiledVae(vae, side, factor, seamless)
    return circular_twin(vae) if seamless else vae


def tiled_if_needed(
    checkpoint: Checkpoint, vae: Any, pixels: int, seamless: bool, call: Callable[[Any], T]
) -> tuple[T, bool]:
    """What `call` makes with the fitting form of a VAE, and whether memory did not suffice, so that it took smaller
    tiles.

    Raises the errors of `call`; out of memory only when it happens again.
    """
    form = fitting(checkpoint, vae, pixels, seamless)
    if pixels >= WHOLE_PIXELS:
        checkpoint.device.empty_cache()  # it can take more than all that the passes before it have kept
    with checkpoint.in_use(form.vae if isinstance(form, TiledVae) else form):
        try:
            return call(form), False
        except Exception as error:
            if not is_out_of_memory(error) or not _has_tiles(vae):
                raise
            log.warning("out of memory in the VAE, trying tiles: %s", error)
        # only here, after the handler: the error holds the tensors that must make room
        if checkpoint.offloader is not None:
            checkpoint.offloader.offload_all()
        checkpoint.device.empty_cache()
        side, factor = _side(checkpoint, vae), checkpoint.model.facts.downsampling_factor
        return call(TiledVae(vae, max(1, side // 2), factor, seamless)), True


def _side(checkpoint: Checkpoint, vae: Any) -> int:
    """Of a tile, in cells: that of the images which the VAE was trained with."""
    trained = getattr(vae.config, "sample_size", None)
    return trained // checkpoint.model.facts.downsampling_factor if trained else _USUAL_SIDE
