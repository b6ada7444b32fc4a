"""Models in the diffusers layout: a folder with one folder a part."""

import json
import math
from pathlib import Path
from typing import Any

import torch

from shared.text_files import read_text_file
from worker.hardware.variants import Precision
from worker.models.checkpoint import Parts

_TRANSFORMERS_FILE = "model"
_DIFFUSERS_FILE = "diffusion_pytorch_model"
_WEIGHTS = {"unet": _DIFFUSERS_FILE, "vae": _DIFFUSERS_FILE, "text_encoder": _TRANSFORMERS_FILE}
# exact names, so that neither pickles nor the second and third copy of the weights are fetched
HUB_FILES = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    "tokenizer/*",
    *(f"{part}/config.json" for part in _WEIGHTS),
    *(f"{part}/{stem}.safetensors" for part, stem in _WEIGHTS.items()),
)


def read_folder(folder: Path, precision: Precision) -> Parts:
    """Read a model from `folder`: safetensors only, a pickle is never opened.

    What is missing or broken raises OSError, ValueError, KeyError or SafetensorError.
    """
    # imported here: they take seconds, and only a worker that is about to load a model needs them
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()

    def part(kind: Any, name: str, dtype: torch.dtype) -> Any:
        variant = None if (folder / name / f"{_WEIGHTS[name]}.safetensors").is_file() else "fp16"
        loaded, report = kind.from_pretrained(
            str(folder),
            subfolder=name,
            use_safetensors=True,
            local_files_only=True,
            dtype=dtype,
            variant=variant,
            output_loading_info=True,
        )
        if missing := report["missing_keys"]:
            # the libraries would fill them with random numbers and go on
            raise ValueError(f"{name} lacks {len(missing)} weights, among them {min(missing)}")
        return loaded.eval().requires_grad_(False)

    text_encoder = part(CLIPTextModel, "text_encoder", precision.others)
    tokenizer = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"), local_files_only=True)
    # a tokenizer whose config states no length claims 10^30
    tokenizer.model_max_length = min(tokenizer.model_max_length, text_encoder.config.max_position_embeddings)
    return Parts(
        unet=part(UNet2DConditionModel, "unet", precision.unet),
        vae=part(AutoencoderKL, "vae", precision.others),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler_config=json.loads(read_text_file(folder / "scheduler" / "scheduler_config.json")),
    )


def weights_in_folder(folder: Path) -> int:
    """The number of weights in a model folder, from the headers of its safetensors files.

    Header: https://huggingface.co/docs/safetensors, 8 bytes of length, then JSON with a shape for every tensor.
    """
    total = 0
    for name in _WEIGHTS:
        for file in sorted((folder / name).glob("*.safetensors"))[:1]:
            with file.open("rb") as stream:
                length = int.from_bytes(stream.read(8), "little")
                header = json.loads(stream.read(min(length, file.stat().st_size)))
            total += sum(math.prod(entry["shape"]) for key, entry in header.items() if key != "__metadata__")
    return total
