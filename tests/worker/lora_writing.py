"""LoRAs with random factors for the tests' models, as kohya's scripts and as diffusers write them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

# kohya's names of a model's networks: with one text encoder, and with two
KOHYA: Mapping[str, str] = {"unet": "lora_unet_", "text_encoder": "lora_te_", "text_encoder_2": "lora_te2_"}
ATTENTION = (".to_q", ".to_k", ".to_v", ".to_out.0", ".q_proj", ".k_proj", ".v_proj", ".out_proj")
EVERYWHERE = (*ATTENTION, ".proj_in", ".proj_out", ".ff.net.0.proj", ".ff.net.2", ".conv1", ".conv2", ".fc1", ".fc2",
              ".time_emb_proj", ".conv_shortcut", ".conv")  # fmt: skip


def networks(folder: Path) -> Mapping[str, Any]:
    """The networks of a model in the diffusers layout that a LoRA may change."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    found: dict[str, Any] = {"unet": UNet2DConditionModel.from_pretrained(folder, subfolder="unet")}
    found["text_encoder"] = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder")
    if (folder / "text_encoder_2").exists():
        second = CLIPTextModelWithProjection.from_pretrained(folder, subfolder="text_encoder_2")
        found["text_encoder_2"] = second
    return found


def factors(
    folder: Path, ends: Sequence[str] = ATTENTION, rank: int = 4, seed: int = 0, only: Sequence[str] = tuple(KOHYA)
) -> Iterator[tuple[str, str, torch.Tensor, torch.Tensor]]:
    """The network, the path of the layer, down and up, of all layers whose paths end so."""
    generator = torch.Generator().manual_seed(seed)
    for network, module in networks(folder).items():
        if network not in only:
            continue
        for path, layer in module.named_modules():
            if path.endswith(tuple(ends)) and isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
                outputs, inputs, *kernel = layer.weight.shape
                down = torch.randn(rank, inputs, *kernel, generator=generator) / layer.weight[0].numel() ** 0.5
                up = torch.randn(outputs, rank, *[1] * len(kernel), generator=generator) * 0.3
                yield network, path if "encoder.layers" not in path else _long(path), down, up


def _long(path: str) -> str:
    """As the layers of text encoders are called in files, whatever the library calls them now."""
    return path if path.startswith("text_model.") else f"text_model.{path}"


def write_kohya(file: Path, folder: Path, alpha: float | None = 2.0, **which: Any) -> Path:
    """In kohya's names, with the same alpha for each layer."""
    tensors: dict[str, torch.Tensor] = {}
    two = (folder / "text_encoder_2").exists()
    for network, path, down, up in factors(folder, **which):
        begin = "lora_te1_" if two and network == "text_encoder" else KOHYA[network]
        name = begin + path.replace(".", "_")
        tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
        if alpha is not None:
            tensors[f"{name}.alpha"] = torch.tensor(alpha)
    save_file(tensors, file)
    return file


def write_peft(file: Path, folder: Path, metadata: Mapping[str, str] | None = None, **which: Any) -> Path:
    """In the names of diffusers and PEFT."""
    tensors: dict[str, torch.Tensor] = {}
    for network, path, down, up in factors(folder, **which):
        tensors |= {f"{network}.{path}.lora_A.weight": down, f"{network}.{path}.lora_B.weight": up}
    save_file(tensors, file, dict(metadata or {}))
    return file


def write_whole(file: Path, folder: Path, kind: str, scale: float = 1.0) -> None:
    """An adapter of a kind that is merged: of the attention, and of norms or biases."""
    generator = torch.Generator().manual_seed(4)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * 0.3 * scale

    tensors: dict[str, torch.Tensor] = {}
    for network, module in networks(folder).items():
        for path, layer in module.named_modules():
            name = f"{'lora_unet_' if network == 'unet' else 'lora_te_text_model_'}{path.replace('.', '_')}"
            if kind == "norms" and isinstance(layer, torch.nn.GroupNorm | torch.nn.LayerNorm):
                shape = layer.weight.shape
                tensors |= {f"{name}.w_norm": random(*shape), f"{name}.b_norm": random(*shape)}
            elif kind == "full" and path.endswith((".to_q", ".conv1", ".fc1")):
                tensors |= {f"{name}.diff": random(*layer.weight.shape)}
            elif kind == "dora" and path.endswith((".to_v", ".fc1")):
                outputs, inputs = layer.weight.shape
                tensors |= {f"{name}.lora_down.weight": random(4, inputs), f"{name}.lora_up.weight": random(outputs, 4)}
                tensors[f"{name}.dora_scale"] = layer.weight.norm(dim=1, keepdim=True).detach() * 1.1
    save_file(tensors, file)
