"""Stable Diffusion as it is published, but narrow, with random weights: `python -m benchmarks.narrow_models FILE`.

Small enough to be made wherever a checkpoint is wanted that any reader of such files must understand.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks.original_layout import original
from worker.models.clip_tokenizer import SIZE


def narrow_parts(second: bool, width: int = 32, words: int = SIZE, channels: int = 4) -> dict[str, Any]:
    """The three parts of a Stable Diffusion 1.x or 2.x at a tiny width, with random weights; of an inpainting model
    where the UNet has 9 input `channels`."""
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
        sample_size=96 if second else 64, in_channels=channels, block_out_channels=widths, layers_per_block=2,
        cross_attention_dim=text_width, attention_head_dim=[each // 64 for each in widths] if second else 8,
        use_linear_projection=second,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(width,) * 4, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, sample_size=512,
    )  # fmt: skip
    return {"unet": unet, "vae": vae, "text_encoder": text}


def narrow_xl_parts(text_layers: int = 3) -> dict[str, Any]:
    """The four parts of a Stable Diffusion XL at a tiny width, with random weights."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(4)
    widths, projected = (64, 128), 96
    kinds = (("quick_gelu", CLIPTextModel, SIZE - 1), ("gelu", CLIPTextModelWithProjection, 0))
    texts: list[Any] = [
        kind(
            CLIPTextConfig(
                vocab_size=SIZE, hidden_size=width, intermediate_size=2 * width, num_attention_heads=width // 64,
                num_hidden_layers=text_layers, hidden_act=activation, projection_dim=projected, bos_token_id=SIZE - 2,
                eos_token_id=SIZE - 1, pad_token_id=padding,
            )
        )
        for width, (activation, kind, padding) in zip(widths, kinds, strict=True)
    ]  # fmt: skip
    with torch.no_grad():
        for text in texts:
            for weight in text.parameters():
                weight.mul_(2)
    unet = UNet2DConditionModel(
        sample_size=128, block_out_channels=(64, 64, 128), layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=sum(widths),
        attention_head_dim=(1, 1, 2), transformer_layers_per_block=(1, 2, 3), use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=projected + 6 * 256,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(32,) * 4, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, sample_size=1024, scaling_factor=0.13025,
        force_upcast=True,
    )  # fmt: skip
    return {"unet": unet, "vae": vae, "text_encoder": texts[0], "text_encoder_2": texts[1]}


if __name__ == "__main__":
    save_file(original(narrow_parts(second=False), second=False), Path(sys.argv[1]))
