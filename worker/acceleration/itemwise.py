"""Linear layers that compute each item of a batch as if it were alone.

In 16 bits the sums of a layer are rounded so coarsely that their order shows in the image. oneDNN orders long sums by
the number of tokens in the whole batch, and so by how many requests share a forward pass. On a processor with AMX these
were the only layers of the demo model, from 128 pixels a side on, whose bits depended on the batch; at 64 pixels its
convolutions to 2x2 values do as well, and calling those once an item took three times as long. Other processors were
not measured (`python -m benchmarks.batching --half` does).
"""

import torch
import torch.nn.functional as F

# products in a sum; with fewer every item had the same bits in any batch, by any number of threads
_LONG_SUM = 512


class ItemwiseLinear(torch.nn.Linear):
    """Takes the place of a linear layer, whose weights it has: tokens `(B, N, C)` -> `(B, N, D)`."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if input.dim() != 3 or len(input) == 1:
            return super().forward(input)
        return torch.stack([F.linear(item, self.weight, self.bias) for item in input])


def compute_itemwise(denoiser: torch.nn.Module) -> None:
    """Let the long sums of `denoiser`'s linear layers be computed one item at a time, in place."""
    for layer in denoiser.modules():
        if type(layer) is torch.nn.Linear and layer.in_features >= _LONG_SUM:
            layer.__class__ = ItemwiseLinear
