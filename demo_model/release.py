"""Writing the model in the diffusers folder layout, in half precision."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from demo_model.denoiser import new_scheduler

WEIGHTS = Path(__file__).parent / "weights"


def release(
    folder: Path, tokenizer_files: Path, text: CLIPTextModel, unet: UNet2DConditionModel, vae: AutoencoderKL
) -> None:
    """Write the pipeline folder; the tokenizer's files are copied as they were made."""
    from demo_model.vocabulary import load_tokenizer

    tokenizer: CLIPTokenizer = load_tokenizer(tokenizer_files)
    halves = [
        copy.deepcopy(m).cpu().to(torch.float16, memory_format=torch.contiguous_format) for m in (vae, text, unet)
    ]
    pipeline = StableDiffusionPipeline(
        vae=halves[0],
        text_encoder=halves[1],
        tokenizer=tokenizer,
        unet=halves[2],
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    # Whatever the library wrote for the tokenizer, the files made here are the source.
    shutil.rmtree(folder / "tokenizer")
    shutil.copytree(tokenizer_files, folder / "tokenizer")
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(0o644)
