"""Models with the structure of Stable Diffusion XL and random but fixed weights, in the diffusers layout, for tests."""

import json
from pathlib import Path
from typing import Any

import torch

from tests.worker.tiny_tokenizer import write_tokenizer

XL_SCHEDULER = {
    "_class_name": "EulerDiscreteScheduler",
    "_diffusers_version": "0.42.1",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "trained_betas": None,
    "prediction_type": "epsilon",
    "interpolation_type": "linear",
    "timestep_spacing": "leading",
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "clip_sample": False,
    "skip_prk_steps": True,
    "sample_max_value": 1.0,
    "use_karras_sigmas": False,
}
XL_INDEX = {"_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": True}
# of the two texts, of the projected one, and of a number among the sizes
_WIDTH, _WIDTH_2, _PROJECTED, _NUMBER = 16, 24, 20, 8
_ADDED = {
    "cross_attention_dim": _WIDTH + _WIDTH_2,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": _NUMBER,
    "projection_class_embeddings_input_dim": _PROJECTED + 6 * _NUMBER,
}


def write_tiny_xl(folder: Path) -> None:
    """As small as the other tiny models: two levels, one of them with attention."""
    unet = {
        "sample_size": 8, "block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": (1, 2), "transformer_layers_per_block": (1, 2),
    }  # fmt: skip
    _write(folder, unet, layers=(2, 3), vae_widths=(8, 8, 8, 8), side=64)


def write_xl_layout(folder: Path) -> None:
    """Block for block as published, but narrow."""
    unet = {
        "sample_size": 128, "block_out_channels": (16, 32, 64), "layers_per_block": 2, "norm_num_groups": 8,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": (1, 2, 4), "transformer_layers_per_block": (1, 2, 10),
    }  # fmt: skip
    _write(folder, unet, layers=(12, 32), vae_widths=(8, 16, 32, 32), side=1024)


def _write(folder: Path, unet: dict[str, Any], layers: tuple[int, int], vae_widths: tuple[int, ...], side: int) -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(2)
    write_tokenizer(folder / "tokenizer", "<|endoftext|>")
    write_tokenizer(folder / "tokenizer_2", "!")
    vocabulary = json.loads((folder / "tokenizer" / "vocab.json").read_text())
    for name, kind, width, depth, activation in (
        ("text_encoder", CLIPTextModel, _WIDTH, layers[0], "quick_gelu"),
        ("text_encoder_2", CLIPTextModelWithProjection, _WIDTH_2, layers[1], "gelu"),
    ):
        encoder: Any = kind(_text_config(vocabulary, width, depth, activation))
        # the stock initialisation is so small that prompts would hardly matter
        with torch.no_grad():
            for weight in encoder.parameters():
                weight.mul_(1.5)
        encoder.save_pretrained(folder / name)
    UNet2DConditionModel(**unet, **_ADDED).save_pretrained(folder / "unet")
    AutoencoderKL(
        block_out_channels=vae_widths,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        sample_size=side,
        scaling_factor=0.13025,
        force_upcast=True,
    ).save_pretrained(folder / "vae")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(XL_SCHEDULER))
    (folder / "model_index.json").write_text(json.dumps(XL_INDEX))


def _text_config(vocabulary: dict[str, int], width: int, depth: int, activation: str) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=depth,
        num_attention_heads=2,
        hidden_act=activation,
        max_position_embeddings=77,
        projection_dim=_PROJECTED,
        bos_token_id=vocabulary["<|startoftext|>"],
        eos_token_id=vocabulary["<|endoftext|>"],
        pad_token_id=vocabulary["<|endoftext|>"],
    )
