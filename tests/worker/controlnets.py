"""ControlNets for the tiny models, with random but fixed weights, for tests."""

from pathlib import Path
from typing import Any

import torch

from shared.catalogue.models import OtherFile


def write_controlnet(models_dir: Path, model: str, folder: Path, seed: int, **further: Any) -> Path:
    """A ControlNet for the tiny model of that name in the diffusers layout; its file."""
    from diffusers import ControlNetModel, UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(str(models_dir / model), subfolder="unet")
    torch.manual_seed(seed)
    network: Any = ControlNetModel.from_unet(
        unet, conditioning_embedding_out_channels=(4, 8, 8, 8), load_weights_from_unet=False, **further
    )
    with torch.no_grad():
        # as they begin, they add nothing
        for layer in (*network.controlnet_down_blocks, network.controlnet_mid_block):
            torch.nn.init.normal_(layer.weight, std=0.1)
            torch.nn.init.normal_(layer.bias, std=0.1)
        torch.nn.init.normal_(network.controlnet_cond_embedding.conv_out.weight, std=0.5)
    network.save_pretrained(folder)
    return folder / "diffusion_pytorch_model.safetensors"


def found(name: str, family: str, file: Path) -> OtherFile:
    """As a scan finds it."""
    return OtherFile(
        name, "controlnet", family, f"MODELS_DIR/{file.name}", file.stat().st_size, "is a ControlNet", file
    )
