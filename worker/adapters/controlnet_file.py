"""ControlNets out of a file: in the diffusers layout, with its `config.json` beside it or without, or in the original.

What shapes tell is read off the weights; the rest is that of the family's models (`worker/models/layouts`). The
conversion of names is that of diffusers.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from shared.catalogue.folder import read_config
from shared.catalogue.layouts import LAYOUTS
from shared.catalogue.tensors import NotUsable
from worker.hardware.devices import is_out_of_memory
from worker.models.original_parts import filled
from worker.models.weights_file import Renamed, Weights, opened

CONFIG = "config.json"
_CLASS = "ControlNetModel"
_PREFIX = "control_model."
_ORIGINAL = "time_embed.0.weight"
# as the original layout of XL has what diffusers' conversion leaves out
_LABELS: Mapping[str, str] = {"label_emb.0.0": "add_embedding.linear_1", "label_emb.0.2": "add_embedding.linear_2"}
_LAYOUTS = Path(__file__).parents[1] / "models" / "layouts"
_OF_BOTH = (
    "norm_num_groups", "layers_per_block", "addition_embed_type", "addition_time_embed_dim", "attention_head_dim",
)  # fmt: skip
_BLOCK = re.compile(r"down_blocks\.(\d+)\.attentions\.\d+\.transformer_blocks\.(\d+)\.attn2\.to_k\.weight")


def read_controlnet(file: Path, family: str, dtype: torch.dtype) -> Any:
    """The ControlNetModel in `file`, a model of `family`, in host memory; raises NotUsable."""
    from diffusers.models.controlnets.controlnet import ControlNetModel

    with opened(file) as weights:
        own = _in_diffusers_layout(weights, dtype)
        config = read_config(file.parent, CONFIG) or {}

        def build(**values: Any) -> Any:
            return ControlNetModel.from_config(values)

        try:
            if config.get("_class_name") != _CLASS:
                config = _measured(own, family)
            return filled(build, config, own, dtype)
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as wrong:
            if isinstance(wrong, NotUsable) or is_out_of_memory(wrong):
                raise
            raise NotUsable("is a ControlNet of another structure than those of its family: get another") from wrong


def _in_diffusers_layout(weights: Weights, dtype: torch.dtype) -> Weights:
    from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint

    begin = _PREFIX if f"{_PREFIX}{_ORIGINAL}" in weights else ""
    if f"{begin}{_ORIGINAL}" not in weights:
        return Renamed(weights, {name: name for name in weights}, dtype)
    bare = Renamed(weights, {name.removeprefix(begin): name for name in weights if name.startswith(begin)}, dtype)
    converted = convert_controlnet_checkpoint(dict(bare), {"layers_per_block": 2})
    for original, ours in _LABELS.items():
        for kind in ("weight", "bias"):
            if f"{original}.{kind}" in bare:
                converted[f"{ours}.{kind}"] = bare[f"{original}.{kind}"]
    found: Weights = {name: weight for name, weight in converted.items() if weight is not None}
    return found


def _measured(weights: Weights, family: str) -> dict[str, Any]:
    """The configuration that fits the shapes."""
    layout = _layout(family)
    base: Mapping[str, Any] = layout["unet"]
    widths = [weights[name].shape[0] for name in _numbered(weights, "down_blocks.{}.resnets.0.conv1.weight")]
    if not widths or "controlnet_cond_embedding.conv_in.weight" not in weights:
        raise NotUsable("lacks weights of a ControlNet: fetch it again")
    depths = [0] * len(widths)
    for name in weights:
        if found := _BLOCK.fullmatch(name):
            depths[int(found[1])] = max(depths[int(found[1])], int(found[2]) + 1)
    projection = next((weights[name] for name in weights if name.endswith(".proj_in.weight")), None)
    text = next((weights[name] for name in weights if name.endswith(".attn2.to_k.weight")), None)
    readers = [weights["controlnet_cond_embedding.conv_in.weight"].shape[0]]
    readers += [weights[name].shape[0] for name in _numbered(weights, "controlnet_cond_embedding.blocks.{}.weight")][
        1::2
    ]
    config = {key: base[key] for key in _OF_BOTH if key in base} | {
        "block_out_channels": widths,
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "mid_block_type": (
            "UNetMidBlock2DCrossAttn" if any(".mid_block.attentions" in f".{name}" for name in weights)
            else "UNetMidBlock2D"
        ),
        "transformer_layers_per_block": [max(1, depth) for depth in depths],
        "use_linear_projection": projection is not None and projection.dim() == 2,
        "conditioning_embedding_out_channels": readers,
    }  # fmt: skip
    if text is not None:
        config["cross_attention_dim"] = text.shape[1]
    if head_width := layout["unet_head_width"]:
        config["attention_head_dim"] = [max(1, width // head_width) for width in widths]
    if "add_embedding.linear_1.weight" in weights:
        config["projection_class_embeddings_input_dim"] = weights["add_embedding.linear_1.weight"].shape[1]
    return config


def _numbered(weights: Weights, pattern: str) -> Iterator[str]:
    """The names of the pattern with 0, 1 and so on, as far as they go."""
    number = 0
    while (name := pattern.format(number)) in weights:
        yield name
        number += 1


def _layout(family: str) -> Mapping[str, Any]:
    name = next((name for name, layout in LAYOUTS.items() if layout.family == family), None)
    if name is None:
        raise NotUsable(f"has no {CONFIG} beside it, which those of the family '{family}' need: fetch it too")
    layout: Mapping[str, Any] = json.loads((_LAYOUTS / f"{Path(name).stem}.json").read_text())
    return layout
