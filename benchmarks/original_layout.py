"""The original layout of CompVis and Stability AI, made of the diffusers parts: their names, turned back.

Written from the structure of the layouts, independently of the conversion that reads such files.
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
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
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


def original(parts: Mapping[str, Any], second: bool = False) -> Weights:
    """All weights under their original names, and what else such files hold.

    `second`: as 2.x has them. Parts with two text encoders are those of XL.
    """
    texts = {name: part.state_dict() for name, part in parts.items() if name.startswith("text_encoder")}
    if xl := "text_encoder_2" in texts:
        text = _clip(texts["text_encoder"], "conditioner.embedders.0.transformer.")
        text |= _open_clip(texts["text_encoder_2"], "conditioner.embedders.1.model.")
    elif second:
        text = _with_a_layer_more(_open_clip(texts["text_encoder"], "cond_stage_model.model."))
    else:
        text = _clip(texts["text_encoder"], "cond_stage_model.transformer.")
    unet = {f"model.diffusion_model.{_unet(name, xl)}": weight for name, weight in parts["unet"].state_dict().items()}
    vae = {f"first_stage_model.{name}": weight for name, weight in vae_weights(parts["vae"]).items()}
    for name in vae:
        # convolutions of one pixel, where diffusers has linear layers
        if re.search(r"attn_1\.(q|k|v|proj_out)\.weight$", name):
            vae[name] = vae[name][:, :, None, None]
    return {
        name: weight.detach().contiguous()
        for name, weight in {**unet, **vae, **text, "betas": torch.linspace(0.00085, 0.012, 1000)}.items()
    }


def original_controlnet(network: Any) -> Weights:
    """All weights of a ControlNet under their original names."""
    named: Weights = {}
    for name, weight in network.state_dict().items():
        if found := re.match(r"controlnet_cond_embedding\.(conv_in|conv_out|blocks\.(\d+))\.(.+)", name):
            last = 2 * (len(network.controlnet_cond_embedding.blocks) + 1)
            place = {"conv_in": 0, "conv_out": last}.get(found[1], 2 * (int(found[2] or 0) + 1))
            theirs = f"input_hint_block.{place}.{found[3]}"
        elif name.startswith("controlnet_mid_block."):
            theirs = name.replace("controlnet_mid_block", "middle_block_out.0", 1)
        elif found := re.match(r"controlnet_down_blocks\.(\d+)\.(.+)", name):
            theirs = f"zero_convs.{found[1]}.0.{found[2]}"
        else:
            theirs = _unet(name, attention_first=False)
        named[f"control_model.{theirs}"] = weight.detach().contiguous()
    return named


def vae_weights(vae: Any) -> Weights:
    """Those of a VAE under their original names, as in a file with nothing else."""
    return {_vae(name): weight for name, weight in vae.state_dict().items()}


def _unet(name: str, attention_first: bool) -> str:
    """`attention_first`: whether the first block of the way up has attention, as in XL."""
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
        # after the attention where there is one
        place = 2 if block or attention_first else 1
        return f"output_blocks.{block * (_LAYERS + 1) + _LAYERS}.{place}.{rest}"
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


def _clip(weights: Weights, prefix: str) -> Weights:
    named = {f"{prefix}text_model.{name.removeprefix('text_model.')}": weight for name, weight in weights.items()}
    return named | {f"{prefix}text_model.embeddings.position_ids": torch.arange(77)[None]}


def _open_clip(weights: Weights, prefix: str) -> Weights:
    """OpenCLIP's names; a projection is the other way round there, and one that is not used is random."""
    weights = {name.removeprefix("text_model."): weight for name, weight in weights.items()}
    named = {
        f"{prefix}token_embedding.weight": weights["embeddings.token_embedding.weight"],
        f"{prefix}positional_embedding": weights["embeddings.position_embedding.weight"],
        f"{prefix}ln_final.weight": weights["final_layer_norm.weight"],
        f"{prefix}ln_final.bias": weights["final_layer_norm.bias"],
        f"{prefix}logit_scale": torch.tensor(4.6),
    }
    width = named[f"{prefix}ln_final.bias"].shape[0]
    projection = weights.get("text_projection.weight")
    named[f"{prefix}text_projection"] = torch.randn(width, width) if projection is None else projection.T
    for layer in range(len({name.split(".")[2] for name in weights if name.startswith("encoder.layers.")})):
        source, target = f"encoder.layers.{layer}.", f"{prefix}transformer.resblocks.{layer}."
        for ours, theirs in _OPEN_CLIP.items():
            for end in ("weight", "bias"):
                named[f"{target}{theirs}.{end}"] = weights[f"{source}{ours}.{end}"]
        for end in ("weight", "bias"):
            parts = [weights[f"{source}self_attn.{part}_proj.{end}"] for part in "qkv"]
            named[f"{target}attn.in_proj_{end}"] = torch.cat(parts)
    return named


def _with_a_layer_more(named: Weights) -> Weights:
    """A last layer that Stable Diffusion 2.x does not use."""
    last = {name: weight for name, weight in named.items() if ".resblocks.22." in name}
    return named | {name.replace(".22.", ".23."): torch.randn_like(weight) for name, weight in last.items()}
