"""The blocks of a VAE's decoder as they are computed on a CPU: with little memory beside an image's own.

At 1024x1024 a tensor in the decoder of Stable Diffusion is up to 1 GB, and stock blocks hold three to four of them at
a time: what goes in, its norm, the norm's activation, what comes out. Here a convolution makes rows of norm and
activation, or of the enlarged image, when it comes to them, and writes over what nothing needs any more. The sums are
those of the stock blocks but for float32's rounding. Small images, which are decoded faster whole, are left to the
blocks that were there.
"""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.upsampling import Upsample2D

from worker.acceleration.blocks import DirectResnetBlock
from worker.acceleration.winograd import PixelRows, WinogradConv2d

# rows of an image that are worked on at a time
_ROWS = 16
# numbers that go into a block for one image, more than which make it large: 64 MB of float32
_LARGE = 2**24


class NormalisedRows(PixelRows):
    """`silu(norm(pixels))`. Rows that were among the last ones given are not made anew: their pixels may be others by
    now."""

    def __init__(self, pixels: torch.Tensor, norm: torch.nn.GroupNorm) -> None:
        super().__init__(pixels)
        self._scale, self._shift = _scale_and_shift(pixels, norm)
        self._last: tuple[slice, int, int, torch.Tensor] | None = None

    def rows(self, items: slice, begin: int, end: int) -> torch.Tensor:
        known, last = begin, None
        if self._last is not None:
            of, first, known_to, rows = self._last
            if of == items and first <= begin < known_to <= end:
                known, last = known_to, rows[:, begin - first :]
        made = torch.addcmul(self._shift[items], super().rows(items, known, end), self._scale[items])
        made = F.silu(made, inplace=True)
        if last is not None:
            made = torch.cat([last, made], dim=1)
        self._last = items, begin, end, made
        return made


class DoubledRows(PixelRows):
    """Every pixel twice as wide and twice as high."""

    @property
    def shape(self) -> tuple[int, int, int]:
        batch, height, width = super().shape
        return batch, 2 * height, 2 * width

    def rows(self, items: slice, begin: int, end: int) -> torch.Tensor:
        first = begin // 2
        pixels = super().rows(items, first, -(-end // 2))
        doubled = pixels.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
        return doubled[:, begin - 2 * first : end - 2 * first]


class DecoderResnetBlock(DirectResnetBlock):
    """Takes the place of a block with two `WinogradConv2d`, whose weights it has."""

    def forward(self, input_tensor: torch.Tensor, temb: torch.Tensor | None = None, *_: Any, **__: Any) -> torch.Tensor:
        """`(B, C, h, w)` -> `(B, O, h, w)`; with norms of another kind, or a small image, as any other block."""
        if not (type(self.norm1) is type(self.norm2) is torch.nn.GroupNorm) or input_tensor[0].numel() < _LARGE:
            return super().forward(input_tensor, temb)
        pixels = input_tensor.permute(0, 2, 3, 1).contiguous()
        hidden = self.conv1.convolve(NormalisedRows(pixels, self.norm1))
        hidden = self.conv2.convolve(NormalisedRows(hidden, self.norm2), into=hidden)
        for row in range(0, pixels.shape[1], _ROWS):
            some = slice(row, row + _ROWS)
            hidden[:, some] += pixels[:, some] if self.conv_shortcut is None else self._shortcut(pixels[:, some])
        made: torch.Tensor = hidden.permute(0, 3, 1, 2)
        return made

    def _shortcut(self, pixels: torch.Tensor) -> torch.Tensor:
        return F.linear(pixels, self.conv_shortcut.weight.flatten(1), self.conv_shortcut.bias)


class DecoderUpsample(Upsample2D):  # type: ignore[misc]  # diffusers comes without types
    """Takes the place of an `Upsample2D` with a `WinogradConv2d`, whose weights it has."""

    def forward(self, hidden_states: torch.Tensor, output_size: int | None = None, *_: Any, **__: Any) -> torch.Tensor:
        """`(B, C, h, w)` -> `(B, O, 2 h, 2 w)`."""
        if output_size is not None or hidden_states[0].numel() < _LARGE // 4:
            made: torch.Tensor = super().forward(hidden_states, output_size)
            return made
        pixels = DoubledRows(hidden_states.permute(0, 2, 3, 1).contiguous())
        made = self.conv.convolve(pixels).permute(0, 3, 1, 2)
        return made


def save_memory(decoder: Any) -> None:
    """Give the blocks below `decoder` that are direct, with `WinogradConv2d`, these forms, in place."""
    for block in decoder.modules():
        if type(block) is DirectResnetBlock and block.time_emb_proj is None:
            if isinstance(block.conv1, WinogradConv2d) and isinstance(block.conv2, WinogradConv2d):
                block.__class__ = DecoderResnetBlock
        elif type(block) is Upsample2D and _is_plain(block):
            block.__class__ = DecoderUpsample


def _is_plain(upsample: Any) -> bool:
    """Whether it doubles its pixels, then convolves them, and no more."""
    more = upsample.norm, upsample.use_conv_transpose, not upsample.interpolate
    return not any(more) and isinstance(upsample.conv, WinogradConv2d)


def _scale_and_shift(pixels: torch.Tensor, norm: torch.nn.GroupNorm) -> tuple[torch.Tensor, torch.Tensor]:
    """With which every channel of each image is multiplied, and what is added then, `(B, 1, 1, C)`, for its norm."""
    batch, height, width, channels = pixels.shape
    many = channels // norm.num_groups
    # a value of each group, from which the others are told: squares of what is far from zero say little of a spread
    base = pixels[:, 0, 0, ::many].repeat_interleave(many, dim=1)
    sums, squares = torch.zeros((2, batch, channels), dtype=torch.float64)
    for item in range(batch):
        for row in range(0, height, _ROWS):
            some = (pixels[item, row : row + _ROWS] - base[item]).view(-1, channels)
            sums[item] += some.sum(0)
            squares[item] += some.square_().sum(0)
    mean, square = (
        (total.view(batch, -1, many).mean(2) / (height * width)).repeat_interleave(many, dim=1)
        for total in (sums, squares)
    )
    scale = torch.rsqrt((square - mean.square()).clamp(min=0) + norm.eps) * norm.weight
    shift = norm.bias - (mean + base) * scale
    return scale.float()[:, None, None], shift.float()[:, None, None]
