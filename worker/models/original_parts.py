"""The parts of a model out of the weights of a single file, in the original layout of CompVis and Stability AI.

Widths are read off the weights; what shapes cannot tell is in a layout (`worker/models/layouts`). The conversion of
names is that of diffusers.
"""

import logging
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch

from shared.catalogue.families import FamilyFacts
from shared.catalogue.kinds import FIRST
from shared.catalogue.recognition import GUIDANCE
from shared.catalogue.tensors import NotUsable
from worker.models.clip_tokenizer import SIZE
from worker.models.text_weights import ORIGINAL_TEXTS
from worker.models.weights_file import Renamed, Weights

log = logging.getLogger(__name__)

UNET, VAE = "model.diffusion_model.", "first_stage_model."
"""How the names of the weights of both begin."""
OTHER_SHAPES = "has weights of other shapes than the models of its family: get another"
_EMA = "model_ema."
_GUIDANCE_PROJECTION = "time_embedding.cond_proj.weight"
_BARE_UNET = FIRST.removeprefix(UNET)
_TEXT_HEAD_WIDTH = 64
_CONTEXT = re.compile(r"\.attn2\.to_k\.weight$")
_DEPTH = re.compile(r"(\d+)\.1\.transformer_blocks\.(\d+)\.attn2\.to_k\.weight")
_TEXT_MODEL, _PROJECTION = "text_model.", "text_projection.weight"
# the attention of the VAE, as converters that stop half-way name it
_VAE_ATTENTION: Mapping[str, str] = MappingProxyType({
    "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out", "group_norm": "norm",
    "query": "q", "key": "k", "value": "v", "proj_attn": "proj_out",
})  # fmt: skip
_ATTENTION_NAME = re.compile(rf"(.+\.mid\.attn_1)\.({'|'.join(map(re.escape, _VAE_ATTENTION))})\.(weight|bias)")


def unet(layout: Mapping[str, Any], weights: Weights, dtype: torch.dtype, averaged: bool) -> Any:
    """The denoiser; with `averaged` of the average over the training. Raises NotUsable."""
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    own = _unet_weights(weights, averaged, dtype)
    config = dict(layout["unet"])
    levels, blocks = len(config["down_block_types"]), config["layers_per_block"] + 1
    widths = [
        _wanted(own, f"{UNET}input_blocks.{1 + level * blocks}.0.out_layers.3.weight").shape[0]
        for level in range(levels)
    ]
    context = next((name for name in own if _CONTEXT.search(name)), f"{UNET}input_blocks.*.attn2.to_k.weight")
    # of an inpainting model there are more, for the mask and what is left of an image
    config["in_channels"] = _wanted(own, FIRST).shape[1]
    config |= {"block_out_channels": widths, "cross_attention_dim": _wanted(own, context).shape[1]}
    if head_width := layout["unet_head_width"]:
        # what this class calls a dimension is the number of heads
        config["attention_head_dim"] = [width // head_width for width in widths]
    if "addition_embed_type" in config:
        config["projection_class_embeddings_input_dim"] = _wanted(own, f"{UNET}label_emb.0.0.weight").shape[1]
        config["transformer_layers_per_block"] = _depths(own, levels, blocks)
    converted = convert_ldm_unet_checkpoint(own, config)
    if told := next((name for name in own if name.endswith(GUIDANCE)), None):
        converted[_GUIDANCE_PROJECTION] = own[told]
        config["time_cond_proj_dim"] = own[told].shape[1]
    return filled(UNet2DConditionModel, config, converted, dtype)


def _depths(weights: Weights, levels: int, blocks: int) -> list[int]:
    """How many transformer layers an attention of each level has; 1 where there is none."""
    depths = [1] * levels
    for name in weights:
        if found := _DEPTH.fullmatch(name.removeprefix(f"{UNET}input_blocks.")):
            level = (int(found[1]) - 1) // blocks
            depths[level] = max(depths[level], int(found[2]) + 1)
    return depths


def _unet_weights(weights: Weights, averaged: bool, dtype: torch.dtype) -> Weights:
    """The UNet's weights under their full names; with `averaged` those of the average over the training."""
    if FIRST not in weights and _BARE_UNET in weights:
        return Renamed(weights, {f"{UNET}{name}": name for name in weights}, dtype)
    names = {name: name for name in weights if name.startswith(UNET)}
    average = {name: _EMA + name.removeprefix("model.").replace(".", "") for name in names}
    complete = all(other in weights for other in average.values())
    if averaged and not complete:
        raise NotUsable('has no averaged weights: take weights = "ema" out of its entry')
    if complete:
        log.info("there are plain and averaged weights; the %s ones are used", "averaged" if averaged else "plain")
    return Renamed(weights, average if averaged else names, dtype)


def vae(layout: Mapping[str, Any], weights: Weights, dtype: torch.dtype) -> Any:
    """The VAE, of a whole checkpoint or of a file with nothing else. Raises NotUsable."""
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    # a file with nothing but a VAE leaves the prefix out
    prefix = VAE if any(name.startswith(VAE) for name in weights) else ""
    names = {f"{VAE}{name.removeprefix(prefix)}": name for name in weights if name.startswith(prefix)}
    own = Renamed(weights, {_original_attention(full): name for full, name in names.items()}, dtype)
    config = dict(layout["vae"])
    levels = range(len(config["down_block_types"]))
    config["block_out_channels"] = [
        _wanted(own, f"{VAE}encoder.down.{level}.block.0.conv2.weight").shape[0] for level in levels
    ]
    return filled(AutoencoderKL, config, convert_ldm_vae_checkpoint(own, config), dtype)


def _original_attention(name: str) -> str:
    found = _ATTENTION_NAME.fullmatch(name)
    return f"{found[1]}.{_VAE_ATTENTION[found[2]]}.{found[3]}" if found else name


def text_encoders(
    facts: FamilyFacts, layout: Mapping[str, Any], weights: Weights, dtype: torch.dtype
) -> Mapping[str, Any]:
    """The text encoders of the family, by their folders in the diffusers layout. Raises NotUsable."""
    return {part: _text_encoder(part, kind, layout, weights, dtype) for part, kind in facts.text_encoders.items()}


def _text_encoder(part: str, kind: str, layout: Mapping[str, Any], weights: Weights, dtype: torch.dtype) -> Any:
    import transformers

    texts = (each for each in ORIGINAL_TEXTS if each.part == part)
    text = next((each for each in texts if any(name.startswith(each.prefix) for name in weights)), None)
    if text is None:
        raise NotUsable(f"lacks the weights of {part}: fetch it again")
    own = {name: name for name in weights if name.startswith(text.prefix)}
    converted = dict(text.convert(Renamed(weights, own, dtype), text.prefix))
    vocabulary, width = _wanted(converted, "embeddings.token_embedding.weight").shape
    if vocabulary != SIZE:
        raise NotUsable(
            f"knows {vocabulary} words where CLIP has {SIZE}; put a checkpoint with CLIP's words in its place"
        )
    layers = len({name.split(".")[2] for name in converted if name.startswith("encoder.layers.")})
    config = {
        **layout[part],
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": _wanted(converted, "encoder.layers.0.mlp.fc1.weight").shape[0],
        "num_attention_heads": max(1, width // _TEXT_HEAD_WIDTH),
        "num_hidden_layers": min(layers, layout["text_layers_used"] or layers),
    }
    encoder = getattr(transformers, kind)
    if encoder is transformers.CLIPTextModelWithProjection:
        projection = _wanted(converted, _PROJECTION)
        config["projection_dim"] = projection.shape[0]
        inner = {f"{_TEXT_MODEL}{name}": weight for name, weight in converted.items() if name != _PROJECTION}
        converted = {**inner, _PROJECTION: projection}

    def build(**values: Any) -> Any:
        return encoder(transformers.CLIPTextConfig(**values))

    return filled(build, config, converted, dtype)


def filled(kind: Any, config: Mapping[str, Any], weights: Weights, dtype: torch.dtype) -> Any:
    """A part with these weights, each in a memory of its own, in one precision whatever the file mixes."""
    from accelerate import init_empty_weights

    with init_empty_weights():
        part = kind(**config)
    known = part.state_dict()
    own = {name: weight.to(dtype).contiguous() for name, weight in weights.items() if name in known}
    if missing := known.keys() - own.keys():
        raise NotUsable(f"lacks {len(missing)} weights, among them those of {min(missing)}: fetch it again")
    try:
        part.load_state_dict(own, assign=True)
    except RuntimeError as other_shapes:
        raise NotUsable(OTHER_SHAPES) from other_shapes
    return part.eval().requires_grad_(False)


def _wanted(weights: Weights, name: str) -> torch.Tensor:
    if name not in weights:
        raise NotUsable(f"lacks the weight {name}: fetch it again")
    return weights[name]
