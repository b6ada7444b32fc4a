"""The latent code of the world, written down instead of learned.

A latent cell stands for 8x8 pixels: three channels hold the cell's mean colour, the fourth how its brightness
leans from one corner to the other, which tells on which side of an edge the cell lies. Both are averages, so the
code of an image at half the size is the average of its code (what EQ-VAE, arXiv 2502.09509, trains for), it is
as smooth as the image, and a UNet can be trained before the autoencoder is: the autoencoder then learns to
write this code (encoder) and to draw from it (decoder).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F

from demo_model.drawing import draw
from demo_model.world import sample_scene

FACTOR = 8
#: Brightness as the fourth channel weighs it: uneven enough that most pairs of colour words differ in it.
TONE = (0.7, 0.5, -0.2)
#: The lean of an empty cell is 0 and of an edge large; at full variance such peaks would dominate the loss.
LEAN_STD = 0.5


@dataclass(frozen=True)
class Code:
    """The affine map from features to white latents: z = (features - centre) @ matrix.T."""

    centre: torch.Tensor
    matrix: torch.Tensor

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Latents (B, 4, H/8, W/8) of images (B, 3, H, W) in -1..1."""
        moved = features(images) - self.centre.to(images).view(1, 4, 1, 1)
        return torch.einsum("ij,bjhw->bihw", self.matrix.to(images), moved)


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """Images (B, H, W, 3) of bytes as (B, 3, H, W) in -1..1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


def features(images: torch.Tensor) -> torch.Tensor:
    """Mean colour and lean of each 8x8 cell: (B, 4, H/8, W/8)."""
    mean = F.avg_pool2d(images, FACTOR)
    along = torch.linspace(-1, 1, FACTOR, dtype=images.dtype, device=images.device)
    ramp = (along[None, :] + 0.6 * along[:, None]) / FACTOR**2
    tone = torch.tensor(TONE, dtype=images.dtype, device=images.device)
    kernel = tone.view(1, 3, 1, 1) * ramp
    return torch.cat([mean, F.conv2d(images, kernel, stride=FACTOR)], dim=1)


@cache
def world_code(scenes: int = 1500) -> Code:
    """The code whose latents have mean 0 and variance 1 (the lean: `LEAN_STD` squared) over the world's images."""
    images = to_tensor(np.stack([np.asarray(draw(sample_scene(-1 - i), 128, 128, 2)) for i in range(scenes)]))
    rows = features(images).permute(0, 2, 3, 1).reshape(-1, 4).double()
    centre = rows.mean(0)
    colour = torch.cov((rows[:, :3] - centre[:3]).T)
    values, vectors = torch.linalg.eigh(colour)
    # A fixed sign for each direction, since an eigenvector's own is arbitrary.
    vectors = vectors * torch.sign(vectors.sum(0))
    matrix = torch.zeros(4, 4, dtype=torch.float64)
    matrix[:3, :3] = (vectors / values.sqrt()).T
    matrix[3, 3] = LEAN_STD / rows[:, 3].std()
    return Code(centre.float(), matrix.float())
