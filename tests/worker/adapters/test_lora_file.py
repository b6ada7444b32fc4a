"""LoRA files as they come: names of all kinds, and files that are broken."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from shared.catalogue.tensors import NotUsable
from tests.worker.lora_writing import networks
from worker.adapters.layer_names import layer_paths, network_and_layer
from worker.adapters.lora_file import read_lora

NAME = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
DOWN, UP = torch.ones(2, 8), torch.ones(8, 2)
SOUND: dict[str, torch.Tensor] = {f"{NAME}.lora_down.weight": DOWN, f"{NAME}.lora_up.weight": UP}


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({f"{NAME}.lora_down.weight": DOWN}, "has no up factor"),
        ({f"{NAME}.lora_down.weight": DOWN[:0], f"{NAME}.lora_up.weight": UP[:, :0]}, "rank 0"),
        (SOUND | {f"{NAME}.lora_up.weight": torch.ones(8, 3)}, "do not fit each other (down 2x8, up 8x3)"),
        (SOUND | {f"{NAME}.lora_up.weight": torch.ones(8)}, "do not fit each other"),
        (SOUND | {f"{NAME}.alpha": torch.tensor(math.nan)}, "an alpha that is no number (nan)"),
        (SOUND | {f"{NAME}.alpha": torch.ones(2)}, "an alpha of several numbers"),
        (SOUND | {f"{NAME}.lora_down.weight": DOWN * math.inf}, "values that are no numbers"),
        (SOUND | {f"{NAME}.lora_down.weight": DOWN.double() * 1e300}, "values that are no numbers"),
        (SOUND | {f"{NAME}.lora_down.weight": DOWN.long()}, "whole numbers"),
        (SOUND | {f"{NAME}.lora_mid.weight": torch.ones(2, 2, 3, 3)}, "do not fit each other"),
        ({f"{NAME}.hada_w1_a": DOWN}, "has no hada_w1_b factor"),
        ({f"{NAME}.lokr_w1": DOWN, f"{NAME}.lokr_w2_a": DOWN.clone()}, "has no lokr_w2_b factor"),
        ({f"{NAME}.oft_blocks": DOWN}, "is an OFT, which cannot be drawn with"),
        ({"something": DOWN}, "changes no layer"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_a_broken_or_strange_file_is_refused_in_a_sentence(
    tensors: Mapping[str, torch.Tensor], told: str, tmp_path: Path
) -> None:
    """Given a file that cannot be drawn with, when it is read, then one sentence says what is wrong with it."""
    save_file(dict(tensors), tmp_path / "a.safetensors")
    with pytest.raises(NotUsable) as raised:
        read_lora(tmp_path / "a.safetensors")
    assert told in str(raised.value)
    assert str(raised.value).count(". ") == 0


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-8])


def _huge_header(file: Path) -> None:
    file.write_bytes((2 * 2**30).to_bytes(8, "little") + file.read_bytes()[8:])


def _no_file(file: Path) -> None:
    file.unlink()


class _Hostile:
    """Makes a file, where a pickle that has it is read as pickles are."""

    def __init__(self, touched: Path) -> None:
        self._touched = touched

    def __reduce__(self) -> Any:
        return Path.touch, (self._touched,)


def _pickle(file: Path) -> None:
    torch.save(dict(SOUND) | {"x": _Hostile(file.with_name("touched"))}, file)


@pytest.mark.parametrize("ending", [".safetensors", ".pt", ".ckpt", ".bin"])
@pytest.mark.parametrize("spoil", [_cut, _huge_header, _no_file, _pickle])
def test_a_spoilt_file_is_refused(spoil: Callable[[Path], None], ending: str, tmp_path: Path) -> None:
    """Given a file that is cut, lies about its header, is gone, or is a pickle that would run something, when it is
    read, then it is refused, and nothing is run."""
    file = tmp_path / f"a{ending}"
    if ending == ".safetensors":
        save_file(dict(SOUND), file)
    else:
        torch.save(dict(SOUND), file)
    spoil(file)
    with pytest.raises(NotUsable):
        read_lora(file)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("name", ["a.pt", "pytorch_lora_weights.bin"])
def test_factors_in_a_pickle_are_read_as_data(name: str, tmp_path: Path) -> None:
    """Given a LoRA as torch saves it, when it is read, then its factors are those of the tensors."""
    file = tmp_path / name
    torch.save(dict(SOUND), file)
    (change,) = read_lora(file).low_rank.values()
    assert torch.equal(change.down, DOWN)


def test_tensors_in_one_place_do_not_take_more_memory_than_the_file(tmp_path: Path) -> None:
    """Given factors of many layers that are one and the same in the file, when it is read, then it is refused."""
    file, factors = tmp_path / "a.bin", torch.ones(4096, 4)
    layers = (f"lora_unet_mid_block_attentions_{number}_proj_in" for number in range(8))
    torch.save({f"{layer}.lora_{end}.weight": factors for layer in layers for end in ("up", "down")}, file)
    with pytest.raises(NotUsable, match="has the same numbers in several tensors: get another"):
        read_lora(file)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_factors_of_8_bits_are_read(dtype: torch.dtype, tmp_path: Path) -> None:
    """Given factors in a type of 8 bits, when the file is read, then they are what it holds."""
    file = tmp_path / "a.safetensors"
    save_file({name: (0.5 * tensor).to(dtype) for name, tensor in SOUND.items()}, file)
    (change,) = read_lora(file).low_rank.values()
    assert torch.equal(change.down.float(), 0.5 * DOWN)


def test_alpha_decides_how_strong_a_layer_is(tmp_path: Path) -> None:
    """Given an alpha, none, one of 0, or one told beside the tensors as diffusers does, when the file is read, then the
    change is scaled by alpha / rank, else by 1; and what means nothing here is named."""
    file = tmp_path / "a.safetensors"

    def scale(tensors: Mapping[str, torch.Tensor], **told: Any) -> float:
        save_file(dict(tensors), file, {"lora_adapter_metadata": json.dumps(told)} if told else None)
        (change,) = read_lora(file).low_rank.values()
        return change.scale

    assert scale(SOUND) == 1.0
    assert scale(SOUND | {f"{NAME}.alpha": torch.tensor(1.0)}) == 0.5
    assert scale(SOUND | {f"{NAME}.alpha": torch.tensor(0.0)}) == 1.0
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    peft = {f"unet.{layer}.lora_A.weight": DOWN, f"unet.{layer}.lora_B.weight": UP}
    assert scale(peft, **{"unet.lora_alpha": 8}) == 4.0
    assert scale(peft, **{"unet.lora_alpha": 8, "unet.alpha_pattern": {"attn1.to_q": 1}}) == 0.5
    assert scale(peft, **{"unet.lora_alpha": 8, "unet.use_rslora": True}) == pytest.approx(8 / 2**0.5)
    for broken in (10**400, math.nan, "8"):
        with pytest.raises(NotUsable, match="which is no number"):
            scale(peft, **{"unet.lora_alpha": broken})
    save_file(SOUND | {"bundle_emb.x": DOWN.clone(), f"{NAME}_b.alpha": torch.tensor(1.0)}, file)
    assert set(read_lora(file).unknown) == {"bundle_emb.x", f"{NAME}_b.alpha"}


def test_names_of_both_layouts_mean_the_same_layer(models_dir: Path) -> None:
    """Given a model with the structure of SDXL, when files name its layers in the original layout, with or without
    `text_model`, or as older versions of diffusers did, then the same layers are found."""
    parts = networks(models_dir / "layout-sdxl")
    unet, text = layer_paths("unet", parts["unet"]), layer_paths("text_encoder_2", parts["text_encoder_2"])
    pairs = {
        "lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q":
            "unet.down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q",
        "lora_unet_middle_block_1_proj_in": "unet.mid_block.attentions.0.proj_in",
        "lora_unet_output_blocks_2_1_transformer_blocks_9_ff_net_0_proj":
            "unet.up_blocks.0.attentions.2.transformer_blocks.9.ff.net.0.proj",
        "lora_unet_output_blocks_5_2_conv": "unet.up_blocks.1.upsamplers.0.conv",
        "lora_unet_input_blocks_3_0_op": "unet.down_blocks.0.downsamplers.0.conv",
        "lora_unet_input_blocks_5_0_emb_layers_1": "lora_unet_down_blocks_1_resnets_1_time_emb_proj",
        "diffusion_model.middle_block.2.out_layers.3": "unet.mid_block.resnets.1.conv2",
        "lora_unet_label_emb_0_2": "unet.add_embedding.linear_2",
        "unet.mid_block.attentions.0.transformer_blocks.0.attn2.processor.to_out_lora":
            "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0",
    }  # fmt: skip
    for one, other in pairs.items():
        found = [unet[network_and_layer(name)[1]] for name in (one, other)]
        assert found[0] == found[1], one
    for name in ("lora_te2_text_model_encoder_layers_0_mlp_fc1", "text_encoder_2.encoder.layers.0.mlp.fc1"):
        assert network_and_layer(name)[0] == "text_encoder_2"
        assert text[network_and_layer(name)[1]].endswith("encoder.layers.0.mlp.fc1")
    originals = {
        path
        for name, path in unet.items()
        if name.startswith(("input_", "middle_", "output_", "time_", "label_", "out_"))
    }
    assert originals == set(unet.values()) - {path for path in unet.values() if "." not in path and "conv" not in path}
