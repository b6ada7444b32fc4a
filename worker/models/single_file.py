"""Models in the original layout of CompVis and Stability AI: everything in one `.safetensors` or `.ckpt` file.

A file says nothing of its structure except by the names and shapes of its weights. What shapes cannot tell (how many
attention heads, the noise schedule, what is predicted) is in `worker/models/layouts`, one file for each of the original
inference yamls; widths are read off the weights. The conversion of names is that of diffusers.
"""

import json
import math
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from shared.catalogue.models import Model
from worker.hardware.variants import Precision
from worker.models.checkpoint import Parts
from worker.models.clip_tokenizer import SIZE, clip_tokenizer
from worker.models.text_weights import ORIGINAL_TEXTS, OriginalText

_LAYOUTS = Path(__file__).with_name("layouts")
_UNET = "model.diffusion_model."
_VAE = "first_stage_model."
_FIRST = f"{_UNET}input_blocks.0.0.weight"
_TEXT_HEAD_WIDTH = 64
# names of classes that published checkpoints of training runs mention beside their weights
_TRAINING_CLASSES = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
)
# what else is passed around in such files, by a mark in the names of its weights
_OTHERS: Mapping[str, str] = MappingProxyType({
    r"^lora_|\.lora_|lora_[AB]\b": "is a LoRA, a change to another model",
    r"^control_model\.|^controlnet_|^input_hint_block": "is a ControlNet",
    r"^conditioner\.embedders\.": "is a Stable Diffusion XL model",
    r"\bjoint_blocks\.": "is a Stable Diffusion 3 model",
    r"\bdouble_blocks\.": "is a Flux model",
    r"^(string_to_param|emb_params|clip_[lg]$)": "is a textual inversion embedding",
    r"^(down_blocks|up_blocks|mid_block)\.": "is the UNet of a diffusers folder without the other parts",
    r"^(encoder|decoder)\.(conv_in|mid)\b": "is a VAE without the other parts",
})  # fmt: skip


class NotUsable(ValueError):
    """The file is not what it should be; the message completes a sentence that begins with its name."""


class _Inert:
    """Stands in for the classes of a training program: takes anything, does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None: ...


def read_single_file(model: Model, file: Path, precision: Precision) -> Parts:
    """Read `file` as the checkpoint of `model`, without any network; raises NotUsable.

    Code in a pickle is never run.
    """
    layout_file = _LAYOUTS / f"{PurePosixPath(model.configs[0]).stem}.json"
    if not layout_file.is_file():
        raise NotUsable(f"is a single file, whose layout {model.configs[0]} is unknown: name another in its entry")
    layout = json.loads(layout_file.read_text())
    with _opened(file) as weights:
        _check_kind(model, weights)
        return Parts(
            denoiser=_unet(layout, weights, precision.denoiser),
            vae=_vae(layout, weights, precision.others),
            text_encoders={"text_encoder": _text_encoder(model, layout, weights, precision.others)},
            tokenizers={"tokenizer": clip_tokenizer(**layout["tokenizer"])},
            scheduler_config=layout["scheduler"],
        )


def weights_in_file(model: Model, file: Path) -> int:
    """The number of weights that `read_single_file` would keep in memory; raises NotUsable."""
    wanted = (_UNET, _VAE, _original_text(model).prefix)
    with _opened(file, shapes_only=True) as weights:
        return sum(math.prod(weights[name].shape) for name in weights if name.startswith(wanted))


# ---- opening


@contextmanager
def _opened(file: Path, shapes_only: bool = False) -> Iterator[Mapping[str, torch.Tensor]]:
    """The weights by name, read from the disk only as they are used; of a pickle with `shapes_only` not even then."""
    try:
        if file.suffix == ".ckpt":
            yield _unpickled(file, shapes_only)
        else:
            with safe_open(str(file), framework="pt") as stream:
                yield _Lazy(stream)
    except SafetensorError as broken:
        raise NotUsable("is cut short or no safetensors file: fetch it again") from broken
    except OSError as broken:
        raise NotUsable(f"cannot be read ({broken.strerror or broken}): see to its place and permissions") from broken


class _Lazy(Mapping[str, torch.Tensor]):
    """A safetensors file as a mapping."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._names: dict[str, None] = dict.fromkeys(stream.keys())

    def __getitem__(self, name: str) -> torch.Tensor:
        if name not in self._names:
            raise KeyError(name)
        tensor: torch.Tensor = self._stream.get_tensor(name)
        return tensor

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _unpickled(file: Path, shapes_only: bool) -> Mapping[str, torch.Tensor]:
    """What a `.ckpt` holds. `weights_only` builds tensors and plain containers, and calls nothing else."""
    allowed: list[Any] = [(_Inert, name) for name in _TRAINING_CLASSES]
    # the older of torch's two formats cannot be mapped into memory
    modern = zipfile.is_zipfile(file)
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            # about storages of an older torch
            warnings.simplefilter("ignore", UserWarning)
            found = torch.load(
                file, map_location="meta" if shapes_only and modern else "cpu", weights_only=True, mmap=modern
            )
    except pickle.UnpicklingError as refused:
        if forbidden := re.search(r"GLOBAL ([\w.]+)", str(refused)):
            raise NotUsable(
                f"was refused, because opening it would run code ({forbidden[1]}): get the model as .safetensors"
            ) from refused
        raise NotUsable("is cut short or holds more than weights: fetch it again, best as .safetensors") from refused
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError) as broken:
        raise NotUsable("is cut short or no checkpoint: fetch it again") from broken
    while isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict):
        raise NotUsable("holds no weights by name: get the model as .safetensors")
    return {name: value for name, value in found.items() if isinstance(name, str) and isinstance(value, torch.Tensor)}


# ---- recognising


def _original_text(model: Model) -> OriginalText:
    """Raises NotUsable for a family whose single files are not known here."""
    if model.family not in ORIGINAL_TEXTS:
        raise NotUsable(f"is a single file, and of the family {model.family} only diffusers folders can be read")
    return ORIGINAL_TEXTS[model.family]


def _check_kind(model: Model, weights: Mapping[str, torch.Tensor]) -> None:
    """Raises NotUsable, saying what the file is instead, unless it is a text-to-image model of the entry's family."""
    for mark, sentence in _OTHERS.items():
        if any(re.search(mark, name) for name in weights):
            raise NotUsable(f"{sentence}; put a whole checkpoint of Stable Diffusion 1.x or 2.x in its place")
    if _FIRST not in weights:
        raise NotUsable(
            "holds no Stable Diffusion in the original layout; put a whole checkpoint of Stable Diffusion 1.x or 2.x"
            " in its place"
        )
    channels = weights[_FIRST].shape[1]
    if channels != model.facts.latent_channels:
        raise NotUsable(
            f"is a variant with {channels} input channels (inpainting, depth and the like); put a text-to-image"
            " checkpoint in its place"
        )
    own = _original_text(model).prefix
    if not any(name.startswith(own) for name in weights):
        for name, text in ORIGINAL_TEXTS.items():
            if any(weight.startswith(text.prefix) for weight in weights):
                raise NotUsable(
                    f"is of the family {name}, but the entry says {model.family}: give it one of that family"
                )
        raise NotUsable("has no text encoder; put a whole checkpoint in its place")
    if not any(name.startswith(_VAE) for name in weights):
        raise NotUsable("has no VAE; put a whole checkpoint in its place")


# ---- building


def _unet(layout: Mapping[str, Any], weights: Mapping[str, torch.Tensor], dtype: torch.dtype) -> Any:
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    config = dict(layout["unet"])
    levels, layers = len(config["down_block_types"]), config["layers_per_block"]
    widths = [
        _wanted(weights, f"{_UNET}input_blocks.{1 + level * (layers + 1)}.0.out_layers.3.weight").shape[0]
        for level in range(levels)
    ]
    context = _wanted(weights, f"{_UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight").shape[1]
    config |= {"block_out_channels": widths, "cross_attention_dim": context}
    if head_width := layout["unet_head_width"]:
        # what this class calls a dimension is the number of heads
        config["attention_head_dim"] = [width // head_width for width in widths]
    # averaged weights draw better than those of the last training step, where a file has both
    converted = convert_ldm_unet_checkpoint(_with_average(weights), config)
    return _filled(UNet2DConditionModel, config, converted, dtype)


def _with_average(weights: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """The UNet's weights under their names; from the exponential moving average where the file has one."""
    names = [name for name in weights if name.startswith(_UNET)]
    average = {name: "model_ema." + name.removeprefix("model.").replace(".", "") for name in names}
    complete = all(other in weights for other in average.values())
    return {name: weights[average[name] if complete else name] for name in names}


def _vae(layout: Mapping[str, Any], weights: Mapping[str, torch.Tensor], dtype: torch.dtype) -> Any:
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    config = dict(layout["vae"])
    levels = range(len(config["down_block_types"]))
    config["block_out_channels"] = [
        _wanted(weights, f"{_VAE}encoder.down.{level}.block.0.conv2.weight").shape[0] for level in levels
    ]
    own = {name: weights[name] for name in weights if name.startswith(_VAE)}
    return _filled(AutoencoderKL, config, convert_ldm_vae_checkpoint(own, config), dtype)


def _text_encoder(
    model: Model, layout: Mapping[str, Any], weights: Mapping[str, torch.Tensor], dtype: torch.dtype
) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    text = _original_text(model)
    own = {name: weights[name] for name in weights if name.startswith(text.prefix)}
    converted = {name.removeprefix("text_model."): weight for name, weight in text.convert(own).items()}
    vocabulary, width = _wanted(converted, "embeddings.token_embedding.weight").shape
    if vocabulary != SIZE:
        raise NotUsable(
            f"knows {vocabulary} words where CLIP has {SIZE}; put a checkpoint with CLIP's words in its place"
        )
    config = {
        **layout["text_encoder"],
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": _wanted(converted, "encoder.layers.0.mlp.fc1.weight").shape[0],
        "num_attention_heads": max(1, width // _TEXT_HEAD_WIDTH),
        "num_hidden_layers": len({name.split(".")[2] for name in converted if name.startswith("encoder.layers.")}),
    }

    def build(**values: Any) -> Any:
        return CLIPTextModel(CLIPTextConfig(**values))

    return _filled(build, config, converted, dtype)


def _filled(kind: Any, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor], dtype: torch.dtype) -> Any:
    """A part with these weights. They are copied: the file may change or go while the model is in memory."""
    from accelerate import init_empty_weights

    with init_empty_weights():
        part = kind(**config)
    known = part.state_dict()
    copies = {name: weight.to(dtype, copy=True) for name, weight in weights.items() if name in known}
    if missing := known.keys() - copies.keys():
        raise NotUsable(f"lacks {len(missing)} weights, among them those of {min(missing)}: fetch it again")
    try:
        part.load_state_dict(copies, assign=True)
    except RuntimeError as other_shapes:
        raise NotUsable("has weights of other shapes than Stable Diffusion 1.x and 2.x: get another") from other_shapes
    return part.eval().requires_grad_(False)


def _wanted(weights: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    if name not in weights:
        raise NotUsable(f"lacks the weight {name}: fetch it again")
    return weights[name]
