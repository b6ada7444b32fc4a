"""VAEs in files of their own, and tiny decoders: the diffusers classes out of their weights."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from shared.catalogue.tensors import NotUsable
from worker.models.original_parts import OTHER_SHAPES, filled, vae
from worker.models.weights_file import Renamed, Weights, opened

_DIFFUSERS_MARK = "encoder.down_blocks.0.resnets.0.conv1.weight"
# the attention of the VAE in files of diffusers before 0.15
_OLDER_ATTENTION: Mapping[str, str] = MappingProxyType({
    "query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0",
})  # fmt: skip
_ATTENTION_NAME = re.compile(rf"(.+\.attentions\.0)\.({'|'.join(_OLDER_ATTENTION)})\.(weight|bias)")
_TINY = "decoder.layers."
_ALONE = re.compile(r"(\d+)\.(.+)")


def read_vae(file: Path, like: Any, dtype: torch.dtype) -> Any:
    """The VAE in `file`, of whatever layout, in place of the VAE `like`, whose scale of latents it has.

    Raises NotUsable.
    """
    config = {name: value for name, value in like.config.items() if not name.startswith("_")}
    try:
        with opened(file) as weights:
            if _DIFFUSERS_MARK in weights:
                return _of_diffusers(config, weights, dtype)
            return vae({"vae": config}, weights, dtype)
    except (IndexError, AttributeError, TypeError) as other_shapes:
        raise NotUsable(OTHER_SHAPES) from other_shapes


def _of_diffusers(config: dict[str, Any], weights: Weights, dtype: torch.dtype) -> Any:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    firsts = [f"encoder.down_blocks.{level}.resnets.0.conv2.weight" for level in range(len(config["down_block_types"]))]
    if missing := next((name for name in firsts if name not in weights), None):
        raise NotUsable(f"lacks the weight {missing}: fetch it again")
    config["block_out_channels"] = [weights[name].shape[0] for name in firsts]
    return filled(AutoencoderKL, config, Renamed(weights, {_newer(name): name for name in weights}, dtype), dtype)


def _newer(name: str) -> str:
    found = _ATTENTION_NAME.fullmatch(name)
    return f"{found[1]}.{_OLDER_ATTENTION[found[2]]}.{found[3]}" if found else name


def read_tiny(file: Path, dtype: torch.dtype) -> Any:
    """The tiny decoder in `file`: a diffusers `AutoencoderTiny` that has no encoder. Raises NotUsable.

    The file is that of a whole tiny VAE, or of the decoder alone as its author publishes it.
    """
    from accelerate import init_empty_weights
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

    with opened(file) as weights:
        names = {f"decoder.{name}": stored for name, stored in _decoder_names(weights).items()}
        first = "decoder.layers.0.weight"
        if first not in names:
            raise NotUsable("has no decoder: put the one whose name ends with _decoder beside it")
        width, channels = weights[names[first]].shape[:2]

        def without_encoder(**config: Any) -> Any:
            with init_empty_weights():
                tiny = AutoencoderTiny(**config)
            tiny.encoder = torch.nn.Identity()
            return tiny

        config = {"latent_channels": channels, "decoder_block_out_channels": (width,) * 4}
        return filled(without_encoder, config, Renamed(weights, names, dtype), dtype)


def _decoder_names(weights: Weights) -> Mapping[str, str]:
    """The name of each weight of the decoder, as diffusers has it below `decoder`, and what the file calls it."""
    if any(name.startswith(_TINY) for name in weights):
        return {name.removeprefix("decoder."): name for name in weights if name.startswith(_TINY)}
    # alone its layers are counted with one before them that has no weights
    counted = {name: _ALONE.fullmatch(name) for name in weights}
    return {f"layers.{int(found[1]) - 1}.{found[2]}": name for name, found in counted.items() if found}
