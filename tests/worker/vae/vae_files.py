"""Files of VAEs with random but fixed weights, as they are published, for tests."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks.original_layout import vae_weights
from shared.catalogue.models import OtherFile

_TINY_WIDTH = 8


def other_vae(seed: int = 7, channels: int = 4) -> Any:
    """A VAE of the tiny models' structure with other weights."""
    from diffusers import AutoencoderKL

    torch.manual_seed(seed)
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=64,
    ).eval()


def tiny_vae(seed: int = 8) -> Any:
    """A TAESD, narrow."""
    from diffusers import AutoencoderTiny

    torch.manual_seed(seed)
    widths = (_TINY_WIDTH,) * 4
    return AutoencoderTiny(encoder_block_out_channels=widths, decoder_block_out_channels=widths).eval()


def write_original(vae: Any, file: Path) -> None:
    """As A1111 and ComfyUI have VAEs."""
    _save(vae_weights(vae), file)


def write_diffusers(module: Any, file: Path) -> None:
    """As a diffusers folder has it."""
    _save(module.state_dict(), file)


def write_decoder_alone(tiny: Any, file: Path) -> None:
    """As the author of TAESD publishes it: a row of layers, the first of which has no weights."""
    names = {name: name.removeprefix("decoder.layers.") for name in tiny.state_dict() if name.startswith("decoder.")}
    weights = {}
    for name, place in names.items():
        number, _, rest = place.partition(".")
        weights[f"{int(number) + 1}.{rest}"] = tiny.state_dict()[name]
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".pth":
        torch.save(weights, file)
    else:
        _save(weights, file)


def _save(weights: dict[str, torch.Tensor], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: weight.contiguous() for name, weight in weights.items()}, file)


def found(file: Path, kind: str, channels: int = 4) -> OtherFile:
    """What a scan tells of it."""
    sentence = "is a tiny VAE without the other parts" if kind == "tiny-vae" else "is a VAE without the other parts"
    size = file.stat().st_size if file.exists() else 0
    return OtherFile(file.stem, kind, "", f"MODELS_DIR/{file.name}", size, sentence, file, channels)
