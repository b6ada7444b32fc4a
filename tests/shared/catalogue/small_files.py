"""Small files of a folder of models: weights that are little more than their headers, without torch, and an entry."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.catalogue.entries import load_catalogue
from shared.catalogue.models import Model

UNET = "model.diffusion_model."
_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "I64": 8}


def safetensors(tensors: Mapping[str, tuple[int, ...]], dtype: str = "F16", metadata: Any = None) -> bytes:
    """A safetensors file with these shapes, all zero; the tensors share no bytes."""
    entries: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    place = 0
    for name, shape in tensors.items():
        size = _BYTES[dtype]
        for side in shape:
            size *= side
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [place, place + size]}
        place += size
    header = json.dumps(entries).encode()
    return len(header).to_bytes(8, "little") + header + bytes(place)


def write(file: Path, tensors: Mapping[str, tuple[int, ...]], **more: Any) -> Path:
    """The file, with its folders."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(safetensors(tensors, **more))
    return file


def entry(folder: Path, text: str) -> dict[str, Model]:
    """The models of a models.toml with one entry, "mine", which says `text` too."""
    file = folder / "models.toml"
    file.write_text(
        '[mine]\nlabel = "Mine"\naliases = []\nsource = "local:my_turbo.safetensors"\nfamily = "sd1"\n'
        f'configs = ["v1-inference.yaml"]\nmax_size = 512\n{text}\n'
    )
    return {model.name: model for model in load_catalogue("mine", file)}


def checkpoint(family: str, channels: int = 4, **more: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Shapes by which a whole checkpoint of the family is known; `more` by other names."""
    texts = {
        "sd1": "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",
        "sd2": "cond_stage_model.model.token_embedding.weight",
        "sdxl": "conditioner.embedders.1.model.token_embedding.weight",
        "sdxl-refiner": "conditioner.embedders.0.model.token_embedding.weight",
    }
    linear = family != "sd1"
    return {
        f"{UNET}input_blocks.0.0.weight": (4, channels, 3, 3),
        f"{UNET}input_blocks.1.1.proj_in.weight": (4, 4) if linear else (4, 4, 1, 1),
        "first_stage_model.encoder.conv_in.weight": (4, 3, 3, 3),
        texts[family]: (2, 4),
        **more,
    }


ONE = (1, 1)
LORA = {"lora_unet_down_blocks_0.lora_up.weight": ONE}
VAE = {"encoder.conv_in.weight": (4, 3, 3, 3), "decoder.conv_in.weight": (4, 4, 3, 3)}
EMBEDDING = {"emb_params": (2, 768)}
CONTROLNET = {"control_model.input_blocks.0.0.weight": (4, 4, 3, 3)}
UPSCALER = {"model.0.weight": (4, 3, 3, 3), "model.1.sub.0.RDB1.conv1.0.weight": (4, 4, 3, 3)}
