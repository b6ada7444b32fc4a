"""What files of adapters call the layers of a network: every spelling by the path that the layer has here."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch

UNET, TEXT_ENCODER, TEXT_ENCODER_2 = "unet", "text_encoder", "text_encoder_2"
"""The networks that adapters change, as the folders of a model are called."""
# how names begin that belong to a network, in kohya's form, in that of diffusers and PEFT, and in ComfyUI's
_BEGINS = (
    ("lora_unet_", UNET), ("lora_te1_", TEXT_ENCODER), ("lora_te2_", TEXT_ENCODER_2), ("lora_te_", TEXT_ENCODER),
    ("lycoris_", UNET), ("unet.", UNET), ("text_encoder_2.", TEXT_ENCODER_2), ("text_encoder.", TEXT_ENCODER),
    ("diffusion_model.", UNET), ("base_model.model.", UNET),
)  # fmt: skip
# older files of diffusers name what stands in for the attention
_PROCESSOR = re.compile(r"\.processor\.(to_[a-z]+)_lora$")
# inside a block, here and in the original layout
_RESNET = (
    ("norm1", "in_layers_0"), ("conv1", "in_layers_2"), ("time_emb_proj", "emb_layers_1"), ("norm2", "out_layers_0"),
    ("conv2", "out_layers_3"), ("conv_shortcut", "skip_connection"),
)  # fmt: skip
_OUTSIDE = (
    ("conv_in", "input_blocks_0_0"), ("time_embedding.linear_1", "time_embed_0"),
    ("time_embedding.linear_2", "time_embed_2"), ("add_embedding.linear_1", "label_emb_0_0"),
    ("add_embedding.linear_2", "label_emb_0_2"), ("conv_norm_out", "out_0"), ("conv_out", "out_2"),
)  # fmt: skip


def network_and_layer(name: str) -> tuple[str, str]:
    """The network that a name in a file belongs to, and the layer in the spelling of `layer_paths`."""
    begin, network = next(((begin, network) for begin, network in _BEGINS if name.startswith(begin)), ("", UNET))
    layer = _PROCESSOR.sub(lambda found: f".{'to_out.0' if found[1] == 'to_out' else found[1]}", name[len(begin) :])
    return network, layer.replace(".", "_")


def layer_paths(network: str, module: Any) -> Mapping[str, str]:
    """The path of each layer with weights, by each of its spellings: `_` stands for every dot.

    Of a UNet these are the names of diffusers and of the original layout, which kohya's files for Stable Diffusion XL
    use; of a text encoder those with and without `text_model`.
    """
    own = [path for path, layer in module.named_modules() if path and _has_weights(layer)]
    paths = {path.replace(".", "_"): path for path in own}
    if network == UNET:
        begins = sorted(_original_begins(module), key=lambda pair: -len(pair[0]))
        for path in own:
            for begin, original in begins:
                if path == begin or path.startswith(f"{begin}."):
                    paths[original + path[len(begin) :].replace(".", "_")] = path
                    break
        return paths
    for path in own:
        short = path.removeprefix("text_model.").replace(".", "_")
        paths |= {short: path, f"text_model_{short}": path}
    return paths


def _has_weights(layer: torch.nn.Module) -> bool:
    """Also where another form of the layer has made something else of its weights."""
    return bool([*layer.parameters(recurse=False), *layer.buffers(recurse=False)])


def _original_begins(unet: Any) -> Iterator[tuple[str, str]]:
    """Where the parts of a diffusers UNet are in the original layout: how the paths begin in both."""
    yield from _OUTSIDE
    number = 1
    for level, block in enumerate(unet.down_blocks):
        for place in range(len(block.resnets)):
            yield from _pair(f"down_blocks.{level}", place, f"input_blocks_{number}")
            number += 1
        if block.downsamplers:
            yield f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks_{number}_0_op"
            number += 1
    if unet.mid_block is not None:
        yield from _resnet("mid_block.resnets.0", "middle_block_0")
        yield "mid_block.attentions.0", "middle_block_1"
        yield from _resnet("mid_block.resnets.1", "middle_block_2")
    number = 0
    for level, block in enumerate(unet.up_blocks):
        for place in range(len(block.resnets)):
            yield from _pair(f"up_blocks.{level}", place, f"output_blocks_{number}")
            number += 1
        if block.upsamplers:
            behind = 2 if getattr(block, "attentions", None) else 1
            yield f"up_blocks.{level}.upsamplers.0.conv", f"output_blocks_{number - 1}_{behind}_conv"


def _pair(block: str, place: int, original: str) -> Iterator[tuple[str, str]]:
    yield from _resnet(f"{block}.resnets.{place}", f"{original}_0")
    yield f"{block}.attentions.{place}", f"{original}_1"


def _resnet(path: str, original: str) -> Iterator[tuple[str, str]]:
    for inner, original_inner in _RESNET:
        yield f"{path}.{inner}", f"{original}_{original_inner}"
