"""Stable Diffusion 1.x and 2.x with random but fixed weights, tiny or with the real structure; inpainting models."""

import json
import shutil
from pathlib import Path

import torch

from tests.worker.tiny_parts import UNET, VAE, WIDTH
from tests.worker.tiny_tokenizer import write_tokenizer

SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.42.1",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "trained_betas": None,
    "skip_prk_steps": True,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "clip_sample": False,
}


def write_inpainting(plain: Path, folder: Path) -> None:
    """Write the model of a folder with a UNet that is told the mask: nine input channels."""
    from diffusers import UNet2DConditionModel

    shutil.copytree(plain, folder)
    torch.manual_seed(9)
    config = {**UNet2DConditionModel.load_config(folder / "unet"), "in_channels": 9}
    unet = UNet2DConditionModel.from_config(config)
    with torch.no_grad():
        unet.conv_out.weight *= 0.25  # latents of an ordinary size, where float32 is fine enough
    unet.save_pretrained(folder / "unet")


def write_tiny_model(folder: Path, pad_token: str, prediction_type: str, seed: int = 0) -> None:
    """Write a complete model folder: tokenizer, text encoder, UNet, VAE, scheduler config."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    write_tokenizer(folder / "tokenizer", pad_token)
    vocabulary = json.loads((folder / "tokenizer" / "vocab.json").read_text())
    torch.manual_seed(seed)
    text_config = CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=vocabulary["<|startoftext|>"],
        eos_token_id=vocabulary["<|endoftext|>"],
        pad_token_id=vocabulary[pad_token],
    )
    text_encoder = CLIPTextModel(text_config)
    # the stock initialisation is so small that prompts would hardly matter
    with torch.no_grad():
        for weight in text_encoder.parameters():
            weight.mul_(3)
    text_encoder.save_pretrained(folder / "text_encoder")
    UNet2DConditionModel(**UNET).save_pretrained(folder / "unet")
    AutoencoderKL(**VAE, sample_size=64).save_pretrained(folder / "vae")
    (folder / "scheduler").mkdir()
    scheduler = {**SCHEDULER, "prediction_type": prediction_type}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))


def write_layout(folder: Path, family: str, pad_token: str, prediction_type: str) -> None:
    """Write a model with the structure of Stable Diffusion 1.5 or 2.1-v, block for block, and random narrow weights."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    write_tokenizer(folder / "tokenizer", pad_token)
    vocabulary = json.loads((folder / "tokenizer" / "vocab.json").read_text())
    second = family == "sd2"
    torch.manual_seed(1)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(vocabulary),
            hidden_size=2 * WIDTH,
            intermediate_size=8 * WIDTH,
            num_hidden_layers=23 if second else 12,
            num_attention_heads=4,
            hidden_act="gelu" if second else "quick_gelu",
            max_position_embeddings=77,
            bos_token_id=vocabulary["<|startoftext|>"],
            eos_token_id=vocabulary["<|endoftext|>"],
            pad_token_id=vocabulary[pad_token],
        )
    )
    with torch.no_grad():
        for weight in text_encoder.parameters():
            weight.mul_(2)
    text_encoder.save_pretrained(folder / "text_encoder")
    UNet2DConditionModel(
        sample_size=96 if second else 64,
        block_out_channels=(16, 32, 64, 64),
        layers_per_block=2,
        cross_attention_dim=2 * WIDTH,
        attention_head_dim=(2, 4, 8, 8) if second else 4,
        use_linear_projection=second,
        norm_num_groups=8,
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        block_out_channels=(8, 16, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        norm_num_groups=8,
        sample_size=768 if second else 512,
    ).save_pretrained(folder / "vae")
    (folder / "scheduler").mkdir()
    scheduler = {**SCHEDULER, "prediction_type": prediction_type}
    if second:
        scheduler |= {"_class_name": "DDIMScheduler"}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
