"""Tiny models in the original layout for tests, and their twins in the diffusers layout."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tests.worker.conftest import SCHEDULER
from worker.clip_vocabulary import SIZE, clip_tokenizer


def build(second: bool, width: int = 32, words: int = SIZE) -> dict[str, Any]:
    """The three parts of a Stable Diffusion 1.x or 2.x at a tiny width, with random weights."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(3)
    text_width = 64
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=words, hidden_size=text_width, intermediate_size=2 * text_width, num_attention_heads=1,
            num_hidden_layers=23 if second else 12, hidden_act="gelu" if second else "quick_gelu",
            bos_token_id=SIZE - 2, eos_token_id=SIZE - 1, pad_token_id=0 if second else SIZE - 1,
        )
    )  # fmt: skip
    with torch.no_grad():
        for weight in text.parameters():
            weight.mul_(2)
    # heads of 64 in 2.x, so that no level can be narrower
    widths = (64, 64, 128, 128) if second else (width, width, 2 * width, 2 * width)
    unet = UNet2DConditionModel(
        sample_size=96 if second else 64, block_out_channels=widths, layers_per_block=2,
        cross_attention_dim=text_width, attention_head_dim=[each // 64 for each in widths] if second else 8,
        use_linear_projection=second,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(width,) * 4, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, sample_size=512,
    )  # fmt: skip
    return {"unet": unet, "vae": vae, "text_encoder": text}


def write_folder(parts: Mapping[str, Any], folder: Path, second: bool) -> None:
    """The twin in the diffusers layout."""
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    clip_tokenizer("!" if second else "<|endoftext|>").save_pretrained(folder / "tokenizer")
    (folder / "scheduler").mkdir()
    scheduler = SCHEDULER | {"prediction_type": "v_prediction" if second else "epsilon"}
    if second:
        scheduler |= {"_class_name": "DDIMScheduler"}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
