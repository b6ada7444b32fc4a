"""Low-rank changes to a UNet's weights (LoRA, arXiv 2106.09685): trained beside the frozen weights, kept as files."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

#: The weights that a LoRA changes: of attention, feed-forward, the blocks' convolutions and their timestep projections.
EVERYWHERE = (
    r"(to_q|to_k|to_v|to_out\.0|proj_in|proj_out|ff\.net\.0\.proj|ff\.net\.2"
    r"|conv1|conv2|conv_shortcut|time_emb_proj|samplers\.0\.conv)\.weight$"
)


class Lora(nn.Module):
    """The factors of a LoRA for the weights of `module` whose names match `where`.

    A weight (out, in, *kernel) becomes `weight + up @ down`, with `down` (rank, in * kernel) and `up` (out, rank). `up`
    begins at zero, so an untrained LoRA changes nothing.
    """

    def __init__(self, module: nn.Module, where: str, rank: int, seed: int) -> None:
        super().__init__()
        self.rank = rank
        draw_from = torch.Generator().manual_seed(seed)
        weights = dict(module.named_parameters())
        self.base = {name: weight.detach() for name, weight in weights.items() if re.search(where, name)}
        shapes = [(weight.shape[0], weight[0].numel()) for weight in self.base.values()]
        self.down = nn.ParameterList(
            torch.randn(rank, inputs, generator=draw_from) / math.sqrt(inputs) for _, inputs in shapes
        )
        self.up = nn.ParameterList(torch.zeros(outputs, rank) for outputs, _ in shapes)

    def merged(self) -> dict[str, torch.Tensor]:
        """The changed weights by name, as `torch.func.functional_call` takes them."""
        return {
            name: weight + (up @ down).view_as(weight)
            for (name, weight), up, down in zip(self.base.items(), self.up, self.down, strict=True)
        }

    @torch.no_grad()
    def kohya(self, numbers: int | None = None) -> dict[str, torch.Tensor]:
        """The tensors of a file in half precision, named as kohya's scripts do.

        Of all changes those directions are kept that weigh most for their size, by their singular values, as long as
        they are `numbers` in all; so layers differ in rank.
        """
        parts = {}
        for (name, weight), up, down in zip(self.base.items(), self.up, self.down, strict=True):
            left, values, right = torch.linalg.svd(up @ down, full_matrices=False)
            parts[name] = weight, left[:, : self.rank], values[: self.rank], right[: self.rank]
        worth = sorted(
            ((float(value) ** 2 / (len(left) + right.shape[1]), name)
             for name, (_, left, values, right) in parts.items() for value in values),
            reverse=True,
        )  # fmt: skip
        ranks, taken = Counter[str](), 0
        for _, name in worth:
            _, left, _, right = parts[name]
            taken += len(left) + right.shape[1]
            if numbers is not None and taken > numbers:
                break
            ranks[name] += 1
        found: dict[str, torch.Tensor] = {}
        for path, rank in ranks.items():
            weight, left, values, right = parts[path]
            roots = values[:rank].sqrt()
            ones = (1,) * (weight.dim() - 2)
            name = f"lora_unet_{path.removesuffix('.weight').replace('.', '_')}"
            found[f"{name}.lora_down.weight"] = (roots[:, None] * right[:rank]).view(rank, *weight.shape[1:])
            found[f"{name}.lora_up.weight"] = (left[:, :rank] * roots).view(-1, rank, *ones)
            found[f"{name}.alpha"] = torch.tensor(float(rank))
        return {name: tensor.half().contiguous() for name, tensor in found.items()}


def save(path: Path, tensors: Mapping[str, torch.Tensor], title: str) -> None:
    """Write a file for models like Stable Diffusion 1.x."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"ss_base_model_version": "sd_v1", "ss_sd_model_name": "demo", "modelspec.title": title}
    save_file(dict(tensors), path, metadata=told)
    path.chmod(0o644)
