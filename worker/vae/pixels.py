"""PIL images to the tensors a VAE sees, and back; the arithmetic of diffusers' image processor."""

import numpy as np
import torch
from PIL import Image


def to_tensor(image: Image.Image) -> torch.Tensor:
    """RGB image -> float32 `(1, 3, H, W)` in -1..1."""
    values = np.asarray(image.convert("RGB"))[None].astype(np.float32) / 255.0
    return 2.0 * torch.from_numpy(values.transpose(0, 3, 1, 2)) - 1.0


def to_bytes(pixels: torch.Tensor) -> torch.Tensor:
    """`(1, 3, H, W)` around -1..1 -> uint8 `(H, W, 3)` on their device; what lies outside is clipped.

    All must be finite.
    """
    values = (pixels[0] * 0.5 + 0.5).clamp(0, 1).float()
    return (values * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()


def to_image(pixels: torch.Tensor) -> Image.Image:
    """The RGB image of `to_bytes`."""
    return Image.fromarray(to_bytes(pixels).cpu().numpy())
