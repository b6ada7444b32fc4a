"""The original layout of CompVis and Stability AI, made of the diffusers parts: their names, turned back.

Written from the structure of the two layouts, independently of the conversion that reads such files.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch

Weights = dict[str, torch.Tensor]
_LAYERS = 2
_UNET_TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def original(parts: Mapping[str, Any], second: bool) -> Weights:
    """All weights under their original names, and what else such files hold."""
    text = _open_clip(parts["text_encoder"].state_dict()) if second else _clip(parts["text_encoder"].state_dict())
    unet = {f"model.diffusion_model.{_unet(name)}": weight for name, weight in parts["unet"].state_dict().items()}
    vae = {f"first_stage_model.{_vae(name)}": weight for name, weight in parts["vae"].state_dict().items()}
    for name in vae:
        # convolutions of one pixel, where diffusers has linear layers
        if re.search(r"attn_1\.(q|k|v|proj_out)\.weight$", name):
            vae[name] = vae[name][:, :, None, None]
    return {
        name: weight.detach().contiguous()
        for name, weight in {**unet, **vae, **text, "betas": torch.linspace(0.00085, 0.012, 1000)}.items()
    }


def _unet(name: str) -> str:
    for ours, theirs in _UNET_TOP.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, theirs, 1)
    if found := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", name):
        kind, number, rest = found[1], int(found[2]), found[3]
        return f"middle_block.{2 * number if kind == 'resnets' else 1}.{_within(kind, rest)}"
    side, block, kind, number, rest = _parsed(name)
    if side == "down":
        if kind == "downsamplers":
            return f"input_blocks.{(block + 1) * (_LAYERS + 1)}.0.op.{rest.removeprefix('conv.')}"
        return f"input_blocks.{1 + block * (_LAYERS + 1) + number}.{int(kind == 'attentions')}.{_within(kind, rest)}"
    if kind == "upsamplers":
        # after the attention where there is one: the first block has none
        return f"output_blocks.{block * (_LAYERS + 1) + _LAYERS}.{1 if block == 0 else 2}.{rest}"
    return f"output_blocks.{block * (_LAYERS + 1) + number}.{int(kind == 'attentions')}.{_within(kind, rest)}"


def _within(kind: str, rest: str) -> str:
    if kind == "resnets":
        first, _, last = rest.partition(".")
        return f"{_UNET_RESNET[first]}.{last}"
    return rest


def _parsed(name: str) -> tuple[str, int, str, int, str]:
    found = re.match(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.+)", name)
    if found is None:
        raise ValueError(f"no name of a diffusers part: {name}")
    return found[1], int(found[2]), found[3], int(found[4]), found[5]


def _vae(name: str) -> str:
    coder, _, rest = name.partition(".")
    if not coder.endswith("coder"):
        return name
    rest = rest.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    if found := re.match(r"mid_block\.resnets\.(\d)\.(.+)", rest):
        return f"{coder}.mid.block_{int(found[1]) + 1}.{found[2]}"
    if found := re.match(r"mid_block\.attentions\.0\.(.+)\.(weight|bias)", rest):
        return f"{coder}.mid.attn_1.{_VAE_ATTENTION[found[1]]}.{found[2]}"
    if not re.match(r"(down|up)_blocks", rest):
        return f"{coder}.{rest}"
    side, block, kind, number, last = _parsed(rest)
    level = block if side == "down" else 3 - block
    if kind == "resnets":
        return f"{coder}.{side}.{level}.block.{number}.{last}"
    return f"{coder}.{side}.{level}.{side}sample.{last}"


def _clip(weights: Weights) -> Weights:
    named = {
        f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}": weight
        for name, weight in weights.items()
    }
    return named | {"cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None]}


def _open_clip(weights: Weights) -> Weights:
    """OpenCLIP's names, with a last layer that Stable Diffusion 2.x does not use."""
    weights = {name.removeprefix("text_model."): weight for name, weight in weights.items()}
    prefix = "cond_stage_model.model."
    named = {
        f"{prefix}token_embedding.weight": weights["embeddings.token_embedding.weight"],
        f"{prefix}positional_embedding": weights["embeddings.position_embedding.weight"],
        f"{prefix}ln_final.weight": weights["final_layer_norm.weight"],
        f"{prefix}ln_final.bias": weights["final_layer_norm.bias"],
        f"{prefix}logit_scale": torch.tensor(4.6),
    }
    width = named[f"{prefix}ln_final.bias"].shape[0]
    named[f"{prefix}text_projection"] = torch.randn(width, width)
    for layer in range(24):
        source = f"encoder.layers.{min(layer, 22)}."
        target = f"{prefix}transformer.resblocks.{layer}."
        for ours, theirs in _OPEN_CLIP.items():
            for end in ("weight", "bias"):
                named[f"{target}{theirs}.{end}"] = weights[f"{source}{ours}.{end}"]
        for end in ("weight", "bias"):
            parts = [weights[f"{source}self_attn.{part}_proj.{end}"] for part in "qkv"]
            named[f"{target}attn.in_proj_{end}"] = torch.cat(parts)
        if layer == 23:
            for name in [each for each in named if each.startswith(target)]:
                named[name] = torch.randn_like(named[name])
    return named
