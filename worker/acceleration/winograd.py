"""3x3 convolutions with a half to a quarter of the multiplications, in float32 and as exact as the direct way.

Winograd's minimal filtering, F(m x m, 3 x 3): Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
arXiv 1509.09308, section 4. An output tile of m x m pixels takes (m + 2)^2 multiplications a channel pair in place of
9 m^2: a quarter for m = 4, four ninths for m = 2. The price is memory, for the transformed weights are (m + 2)^2 / 9
times as large.
"""

import torch
import torch.nn.functional as F

_KERNEL = 3
# m -> B^T, G, A^T of the paper (equations 7 and 8; the points for m = 4 are 0, 1, -1, 2, -2)
_TRANSFORMS = {
    2: (
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
        [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
        [[1, 1, 1, 0], [0, 1, -1, -1]],
    ),
    4: (
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ],
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ],
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    ),
}
# layers with more weights work on few pixels and would grow by too much: they take the small tiles
_MOST_WEIGHTS_FOR_LARGE_TILES = 1_400_000 * _KERNEL**2
# with fewer channels the transforms cost more than the multiplications that they save
_FEWEST_CHANNELS = 64
# so many tiles at a time stay in the processor's cache
_TILES_AT_ONCE = 128


def suits(module: torch.nn.Conv2d) -> bool:
    """Whether `WinogradConv2d` can stand in for the convolution, and is faster."""
    return (
        module.kernel_size == (_KERNEL, _KERNEL)
        and module.stride == module.padding == module.dilation == (1, 1)
        and module.groups == 1
        and module.padding_mode == "zeros"
        and min(module.in_channels, module.out_channels) >= _FEWEST_CHANNELS
    )


def replace_convolutions(model: torch.nn.Module) -> None:
    """Put a `WinogradConv2d` in the place of every convolution below `model` that it suits."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, torch.nn.Conv2d) and suits(child):
                setattr(parent, name, WinogradConv2d(child))


class PixelRows:
    """The pixels of images, `(B, H, W, C)`, some rows of which are given at a time."""

    def __init__(self, pixels: torch.Tensor) -> None:
        self._pixels = pixels

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(B, H, W)`."""
        batch, height, width, _ = self._pixels.shape
        return batch, height, width

    def rows(self, items: slice, begin: int, end: int) -> torch.Tensor:
        """Of some images the rows from `begin` to before `end`, `(b, end - begin, W, C)`."""
        return self._pixels[items, begin:end]


class WinogradConv2d(torch.nn.Module):
    """Stands in for a convolution of 3x3, stride 1, padding 1: `(B, C, H, W)` -> `(B, O, H, W)`, channels last.

    The original's weights are not kept.
    """

    transformed: torch.Tensor
    bias: torch.Tensor | None
    circular = False
    """Whether what lies beyond an edge is what lies at the opposite one, in place of zeros."""

    def __init__(self, original: torch.nn.Conv2d) -> None:
        super().__init__()
        weight, bias = original.weight, original.bias
        outputs, inputs = weight.shape[:2]
        self.tile = 4 if weight.numel() <= _MOST_WEIGHTS_FOR_LARGE_TILES else 2
        to_input, to_weights, to_output = (
            torch.tensor(matrix, dtype=torch.float64) for matrix in _TRANSFORMS[self.tile]
        )
        # both dimensions of a tile in one matrix, for tiles whose pixels stand in a row
        self._to_input = torch.kron(to_input, to_input).float()
        self._to_output = torch.kron(to_output, to_output).float()
        flat = weight.detach().float().permute(2, 3, 1, 0).reshape(_KERNEL**2, inputs * outputs)
        transformed = torch.kron(to_weights, to_weights).float() @ flat
        # `(points, C, O)`
        self.register_buffer("transformed", transformed.view(-1, inputs, outputs))
        self.register_buffer("bias", None if bias is None else bias.detach())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Tiles overlap by 2 in the input and not at all in the output; the last ones reach over the edge."""
        return self.convolve(PixelRows(images.permute(0, 2, 3, 1).contiguous())).permute(0, 3, 1, 2)

    def convolve(self, source: PixelRows, into: torch.Tensor | None = None) -> torch.Tensor:
        """The pixels `(B, H, W, O)` of all of `source`, whose rows are asked for in order, in `into` where they fit.

        `into` can be the memory of the source, if that does not make anew what it gave last.
        """
        batch, height, width = source.shape
        size, outputs = self.tile, self.transformed.shape[2]
        down, across = -(-height // size), -(-width // size)
        whole = (batch, down * size, across * size, outputs)
        if into is None or into.shape != whole or self.circular:
            into = self.transformed.new_empty(whole)
        # few tiles: all images at once; many: some rows of one image after the other
        count = batch if batch * down * across <= _TILES_AT_ONCE else 1
        rows = min(down, max(1, _TILES_AT_ONCE // (count * across)))
        for item in range(0, batch, count):
            for row in range(0, down, rows):
                many = min(rows, down - row)
                items, end = slice(item, item + count), (row + many) * size
                part = self._with_edges(source, items, row * size - 1, end + 1, across * size - width)
                self._convolve(self._tiles(part, many, across), into[items, row * size : end])
        return into[:, :height, :width].contiguous()

    def _with_edges(self, source: PixelRows, items: slice, begin: int, end: int, over: int) -> torch.Tensor:
        """Rows of the source, one pixel more on the left and `over` and one on the right; also beyond its edges."""
        height = source.shape[1]
        above, below = max(0, -begin), max(0, end - height)
        part = source.rows(items, max(0, begin), min(end, height))
        if not self.circular:
            return F.pad(part, (0, 0, 1, 1 + over, above, below))
        # of what lies below no more than one row shows in the result
        beyond = [source.rows(items, height - 1, height)] if above else []
        part = torch.cat([*beyond, part, *([source.rows(items, 0, 1)] if below else [])], dim=1)
        part = torch.cat([part[:, :, -1:], part, part[:, :, :1]], dim=2)
        return F.pad(part, (0, 0, 0, over, 0, max(0, below - 1)))

    def _tiles(self, padded: torch.Tensor, down: int, across: int) -> torch.Tensor:
        """Overlapping tiles, `(tiles, points, C)`, of so many rows and columns from the upper left of each image."""
        size, side, channels = self.tile, self.tile + 2, padded.shape[3]
        item, row, column, channel = padded.stride()
        shape = (len(padded), down, across, side, side, channels)
        strides = (item, row * size, column * size, row, column, channel)
        return padded.as_strided(shape, strides).reshape(-1, side * side, channels)

    def _convolve(self, tiles: torch.Tensor, target: torch.Tensor) -> None:
        """Write the tiles' results into `target`, `(images, rows, columns, O)`."""
        size = self.tile
        count, rows, columns, outputs = target.shape
        points = torch.matmul(self._to_input, tiles)
        products = torch.bmm(points.transpose(0, 1), self.transformed)
        pixels = torch.matmul(self._to_output, products.transpose(0, 1))
        grid = pixels.view(count, rows // size, columns // size, size, size, outputs).transpose(2, 3)
        in_tiles = target.view(count, rows // size, size, columns // size, size, outputs)
        if self.bias is None:
            in_tiles.copy_(grid)
        else:
            torch.add(grid, self.bias, out=in_tiles)
