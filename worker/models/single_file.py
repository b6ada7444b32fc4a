"""Models in the original layout of CompVis and Stability AI: everything in one `.safetensors` or `.ckpt` file.

A file says nothing of its structure except by the names and shapes of its weights. What shapes cannot tell (how many
attention heads, the noise schedule, what is predicted) is in `worker/models/layouts`, one file for each of the original
inference yamls; widths are read off the weights. The conversion of names is that of diffusers.
"""

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import torch

from shared.catalogue.kinds import FIRST
from shared.catalogue.layouts import LAYOUTS
from shared.catalogue.models import AVERAGED, MEASURED, Model
from shared.catalogue.recognition import EPSILON, V_PREDICTION, FileFacts, objection, recognise, yaml_beside
from shared.catalogue.tensors import NotUsable
from shared.catalogue.weights_file import read_header
from worker.hardware.variants import Precision
from worker.models.checkpoint import Parts
from worker.models.clip_tokenizer import SIZE, clip_tokenizer
from worker.models.text_weights import ORIGINAL_TEXTS
from worker.models.weights_file import Renamed, Weights, opened

log = logging.getLogger(__name__)

_FOLDER = Path(__file__).with_name("layouts")
_UNET, _VAE, _EMA = "model.diffusion_model.", "first_stage_model.", "model_ema."
_TEXTS = tuple(text.prefix for text in ORIGINAL_TEXTS)
_BARE_UNET = FIRST.removeprefix(_UNET)
_TEXT_HEAD_WIDTH = 64
_OTHER_SHAPES = "has weights of other shapes than Stable Diffusion 1.x and 2.x: get another"
TEXT_ENCODER_PART, VAE_PART = "text encoder", "VAE"
"""The parts that a file may lack and another may give, as `FileFacts.lacks` names them."""
_PREFIXES: Mapping[str, tuple[str, ...]] = MappingProxyType({TEXT_ENCODER_PART: _TEXTS, VAE_PART: (_VAE,)})
# the attention of the VAE, as converters that stop half-way name it
_VAE_ATTENTION: Mapping[str, str] = MappingProxyType({
    "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out", "group_norm": "norm",
    "query": "q", "key": "k", "value": "v", "proj_attn": "proj_out",
})  # fmt: skip
_ATTENTION_NAME = re.compile(rf"(.+\.mid\.attn_1)\.({'|'.join(map(re.escape, _VAE_ATTENTION))})\.(weight|bias)")


def read_single_file(model: Model, file: Path, precision: Precision, donors: Mapping[str, Path] | None = None) -> Parts:
    """Read `file` as the checkpoint of `model`, without any network; raises NotUsable.

    `donors`: files from which to take the parts that this one lacks. Code in a pickle is never run.
    """
    facts = _facts_of(model, file)
    missing = [part for part in facts.lacks if part not in (donors or {})]
    if missing:
        raise NotUsable(f"has no {' and no '.join(missing)}; put a whole checkpoint in its place")
    layout = _layout(model)
    try:
        return _built(model, file, precision, facts, layout, donors or {})
    except (IndexError, AttributeError, TypeError) as other_shapes:
        raise NotUsable(_OTHER_SHAPES) from other_shapes


def _built(
    model: Model,
    file: Path,
    precision: Precision,
    facts: FileFacts,
    layout: Mapping[str, Any],
    donors: Mapping[str, Path],
) -> Parts:
    remarks = []
    with opened(file) as weights:
        denoiser = _unet(layout, weights, precision.denoiser, model.weights == AVERAGED)
        sources = dict.fromkeys(_PREFIXES, file) | {part: donors[part] for part in facts.lacks}
        if sources[VAE_PART] == file:
            vae = _vae(layout, weights, precision.others)
        if sources[TEXT_ENCODER_PART] == file:
            text_encoder = _text_encoder(layout, weights, precision.others)
    for part in facts.lacks:
        with opened(sources[part]) as weights:
            if part == VAE_PART:
                vae = _vae(layout, weights, precision.others)
            else:
                text_encoder = _text_encoder(layout, weights, precision.others)
        remarks.append(f"ckpt: {file.name} has no {part}; that of {sources[part].name} was used.")
    return Parts(
        denoiser=denoiser,
        vae=vae,
        text_encoders={"text_encoder": text_encoder},
        tokenizers={"tokenizer": clip_tokenizer(**layout["tokenizer"])},
        scheduler_config=_scheduler_config(model, facts, layout, denoiser),
        remarks=tuple(remarks),
    )


def weights_in_file(model: Model, file: Path) -> int:
    """The number of weights that `read_single_file` would keep in memory; raises NotUsable."""
    _require_layouts(model)
    header = read_header(file)
    wanted = (_UNET, _VAE, *_TEXTS) if FIRST in header.tensors else ("",)
    return sum(tensor.count for name, tensor in header.tensors.items() if name.startswith(wanted))


# ---- recognising


def _facts_of(model: Model, file: Path) -> FileFacts:
    """Raises NotUsable, saying what the file is instead, unless it is a text-to-image model of the entry's family."""
    _require_layouts(model)
    facts = recognise(read_header(file), yaml_beside(file))
    if wrong := objection(facts, model.family):
        raise NotUsable(wrong)
    return facts


def _require_layouts(model: Model) -> None:
    if not any(layout.family == model.family for layout in LAYOUTS.values()):
        raise NotUsable(f"is a single file, and of the family {model.family} only diffusers folders can be read")


def _layout(model: Model) -> Mapping[str, Any]:
    name = model.configs[0]
    file = _FOLDER / f"{PurePosixPath(name).stem}.json"
    if name not in LAYOUTS or not file.is_file():
        raise NotUsable(
            f"is a single file, whose layout {name} is unknown: put one of {', '.join(LAYOUTS)} into its entry"
        )
    layout: Mapping[str, Any] = json.loads(file.read_text())
    return layout


def _scheduler_config(model: Model, facts: FileFacts, layout: Mapping[str, Any], unet: Any) -> Mapping[str, Any]:
    """The layout's, with what the entry says, else the file, of what is predicted."""
    config = dict(layout["scheduler"])
    prediction = facts.prediction if model.prediction in ("", MEASURED) else model.prediction
    if not prediction and model.prediction == MEASURED:
        prediction = _measured_prediction(unet)
        log.info("the model %s predicts %s, as its answer to noise tells", model.name, prediction)
    if prediction:
        config["prediction_type"] = prediction
    if facts.zero_snr and config["prediction_type"] == V_PREDICTION:
        config["rescale_betas_zero_snr"] = True
    return config


def _measured_prediction(unet: Any) -> str:
    """What a UNet of 2.x predicts, by its answer to a grey image at the last timestep.

    There the noise is nearly all of the input, and what predicts noise returns it; the A1111 web UI asks the same way.
    """
    dtype = unet.dtype
    grey = torch.full((1, unet.config.in_channels, 8, 8), 0.5, dtype=dtype)
    text = torch.full((1, 2, unet.config.cross_attention_dim), 0.5, dtype=dtype)
    with torch.no_grad():
        answer = unet(grey, torch.tensor([999]), text).sample
    return V_PREDICTION if float((answer - grey).float().mean()) < -1 else EPSILON


# ---- building


def _unet(layout: Mapping[str, Any], weights: Weights, dtype: torch.dtype, averaged: bool) -> Any:
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    own = _unet_weights(weights, averaged, dtype)
    config = dict(layout["unet"])
    levels, layers = len(config["down_block_types"]), config["layers_per_block"]
    widths = [
        _wanted(own, f"{_UNET}input_blocks.{1 + level * (layers + 1)}.0.out_layers.3.weight").shape[0]
        for level in range(levels)
    ]
    context = _wanted(own, f"{_UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight").shape[1]
    config |= {"block_out_channels": widths, "cross_attention_dim": context}
    if head_width := layout["unet_head_width"]:
        # what this class calls a dimension is the number of heads
        config["attention_head_dim"] = [width // head_width for width in widths]
    return _filled(UNet2DConditionModel, config, convert_ldm_unet_checkpoint(own, config), dtype)


def _unet_weights(weights: Weights, averaged: bool, dtype: torch.dtype) -> Weights:
    """The UNet's weights under their full names; with `averaged` those of the average over the training."""
    if FIRST not in weights and _BARE_UNET in weights:
        return Renamed(weights, {f"{_UNET}{name}": name for name in weights}, dtype)
    names = {name: name for name in weights if name.startswith(_UNET)}
    average = {name: _EMA + name.removeprefix("model.").replace(".", "") for name in names}
    complete = all(other in weights for other in average.values())
    if averaged and not complete:
        raise NotUsable('has no averaged weights: take weights = "ema" out of its entry')
    if complete:
        log.info("there are plain and averaged weights; the %s ones are used", "averaged" if averaged else "plain")
    return Renamed(weights, average if averaged else names, dtype)


def _vae(layout: Mapping[str, Any], weights: Weights, dtype: torch.dtype) -> Any:
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    # a file with nothing but a VAE leaves the prefix out
    prefix = _VAE if any(name.startswith(_VAE) for name in weights) else ""
    names = {f"{_VAE}{name.removeprefix(prefix)}": name for name in weights if name.startswith(prefix)}
    own = Renamed(weights, {_original_attention(full): name for full, name in names.items()}, dtype)
    config = dict(layout["vae"])
    levels = range(len(config["down_block_types"]))
    config["block_out_channels"] = [
        _wanted(own, f"{_VAE}encoder.down.{level}.block.0.conv2.weight").shape[0] for level in levels
    ]
    return _filled(AutoencoderKL, config, convert_ldm_vae_checkpoint(own, config), dtype)


def _original_attention(name: str) -> str:
    found = _ATTENTION_NAME.fullmatch(name)
    return f"{found[1]}.{_VAE_ATTENTION[found[2]]}.{found[3]}" if found else name


def _text_encoder(layout: Mapping[str, Any], weights: Weights, dtype: torch.dtype) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    text = next(each for each in ORIGINAL_TEXTS if any(name.startswith(each.prefix) for name in weights))
    own = {name: name for name in weights if name.startswith(text.prefix)}
    converted = text.convert(Renamed(weights, own, dtype))
    vocabulary, width = _wanted(converted, "embeddings.token_embedding.weight").shape
    if vocabulary != SIZE:
        raise NotUsable(
            f"knows {vocabulary} words where CLIP has {SIZE}; put a checkpoint with CLIP's words in its place"
        )
    layers = len({name.split(".")[2] for name in converted if name.startswith("encoder.layers.")})
    config = {
        **layout["text_encoder"],
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": _wanted(converted, "encoder.layers.0.mlp.fc1.weight").shape[0],
        "num_attention_heads": max(1, width // _TEXT_HEAD_WIDTH),
        "num_hidden_layers": min(layers, layout["text_layers_used"] or layers),
    }

    def build(**values: Any) -> Any:
        return CLIPTextModel(CLIPTextConfig(**values))

    return _filled(build, config, converted, dtype)


def _filled(kind: Any, config: Mapping[str, Any], weights: Weights, dtype: torch.dtype) -> Any:
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
        raise NotUsable(_OTHER_SHAPES) from other_shapes
    return part.eval().requires_grad_(False)


def _wanted(weights: Weights, name: str) -> torch.Tensor:
    if name not in weights:
        raise NotUsable(f"lacks the weight {name}: fetch it again")
    return weights[name]
