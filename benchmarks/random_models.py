"""Full-size Stable Diffusion structures with random weights: `python -m benchmarks.random_models sd15 FOLDER`.

The time and memory of an image do not depend on what the weights say, so speed can be measured without a download.
The tokenizer is the demo model's, whose words are a small part of the vocabulary.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import torch

from demo_model.release import WEIGHTS

# the published configurations, where they differ from the classes' defaults
_UNETS: dict[str, dict[str, Any]] = {
    "sd15": {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
    "sd21v": {
        "sample_size": 96,
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
    },
}
_TEXTS: dict[str, dict[str, Any]] = {
    "sd15": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
    "sd21v": {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16,
        "hidden_act": "gelu",
    },
}  # fmt: skip
_PREDICTIONS = {"sd15": "epsilon", "sd21v": "v_prediction"}


def parts(model: str) -> Iterator[tuple[str, Any]]:
    """The parts of `model` (sd15 or sd21v) one after the other, by the names of their folders, in float32."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    yield "unet", UNet2DConditionModel(block_out_channels=(320, 640, 1280, 1280), layers_per_block=2, **_UNETS[model])
    yield (
        "vae",
        AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            sample_size=512,
        ),
    )
    marks = json.loads((WEIGHTS / "text_encoder" / "config.json").read_text())
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    config = CLIPTextConfig(vocab_size=49408, **{name: marks[name] for name in names}, **_TEXTS[model])
    yield "text_encoder", CLIPTextModel(config)


def xl_parts(dtype: torch.dtype) -> Iterator[tuple[str, Any]]:
    """The parts of Stable Diffusion XL one after the other, by the names of their folders: 7 GB in 16 bits.

    They are never there in another type: in float32 the UNet alone takes 10 GB.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(0)
    texts = (
        ("text_encoder", CLIPTextModel, (768, 3072, 12, 12), "quick_gelu"),
        ("text_encoder_2", CLIPTextModelWithProjection, (1280, 5120, 32, 20), "gelu"),
    )
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=128, block_out_channels=(320, 640, 1280), layers_per_block=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=2048,
            attention_head_dim=(5, 10, 20), transformer_layers_per_block=(1, 2, 10), use_linear_projection=True,
            addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
        )  # fmt: skip
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, sample_size=1024, scaling_factor=0.13025,
            force_upcast=True,
        )  # fmt: skip
    yield "unet", _filled(unet, dtype)
    yield "vae", _filled(vae, dtype)
    for name, kind, (width, inner, layers, heads), activation in texts:
        config = CLIPTextConfig(
            vocab_size=49408, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
            num_attention_heads=heads, hidden_act=activation, projection_dim=1280, bos_token_id=49406,
            eos_token_id=49407, pad_token_id=49407,
        )  # fmt: skip
        with torch.device("meta"):
            encoder = kind(config)
        yield name, _filled(encoder, dtype)


def tiny_vae() -> Any:
    """The tiny autoencoder of Stable Diffusion 1.x and 2.x (TAESD), as diffusers has it."""
    from diffusers import AutoencoderTiny

    torch.manual_seed(0)
    return AutoencoderTiny()


def _filled(part: Any, dtype: torch.dtype) -> Any:
    """The part, whose weights are nowhere yet, with random ones, as small as trained ones are."""
    part = part.to(dtype).to_empty(device="cpu")
    with torch.no_grad():
        for name, weight in part.named_parameters():
            if weight.ndim > 1:
                weight.normal_(0, 0.02)
            else:
                weight.fill_(1.0 if name.endswith("weight") else 0.0)
    return part


def write(model: str, folder: Path) -> None:
    """Write `model` (sd15 or sd21v) in the diffusers layout, in float16: 2 to 3 GB."""
    shutil.copytree(WEIGHTS / "tokenizer", folder / "tokenizer", dirs_exist_ok=True)
    for name, part in parts(model):
        part.half().save_pretrained(folder / name)
    scheduler = json.loads((WEIGHTS / "scheduler" / "scheduler_config.json").read_text())
    (folder / "scheduler").mkdir(exist_ok=True)
    scheduler["prediction_type"] = _PREDICTIONS[model]
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    shutil.copy(WEIGHTS / "model_index.json", folder / "model_index.json")


@click.command()
@click.argument("model", type=click.Choice(list(_UNETS)))
@click.argument("folder", type=click.Path(path_type=Path))
def main(model: str, folder: Path) -> None:
    """Write a model with random weights."""
    write(model, folder)
    click.echo(f"{folder}: {sum(file.stat().st_size for file in folder.rglob('*')) / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
