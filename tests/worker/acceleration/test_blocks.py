"""The blocks of a UNet give what diffusers' own give, in fewer steps of Python."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D

from shared.catalogue.models import Catalogue
from worker.acceleration.blocks import (
    DirectAttention,
    DirectResnetBlock,
    SlicedAttention,
    simplify_blocks,
)


def kinds(model: torch.nn.Module) -> set[type]:
    """Of the blocks that have a direct form, and of those that are one."""
    return {type(module) for module in model.modules() if isinstance(module, Attention | ResnetBlock2D)}


def stock_unet(name: str, models_dir: Path, catalogue: Catalogue) -> Any:
    """As diffusers reads it; what is drawn at random afterwards is the same every time."""
    model = catalogue.find(name)
    folder = model and model.place(models_dir)
    unet = UNet2DConditionModel.from_pretrained(str(folder), subfolder="unet").eval()
    torch.manual_seed(0)
    return unet


@pytest.mark.parametrize("name", ["demo", "layout-sd15", "layout-sd21v", "layout-sdxl"])
def test_a_simplified_unet_is_the_stock_one_bit_for_bit(name: str, models_dir: Path, catalogue: Catalogue) -> None:
    """Given a model of each family, when its blocks are simplified, then all are, and no bit of a result changes."""
    unet = stock_unet(name, models_dir, catalogue)
    inputs = torch.randn(2, 4, 16, 24), torch.tensor([7.0, 801.0]), torch.randn(2, 77, unet.config.cross_attention_dim)
    added = {"text_embeds": torch.randn(2, 20), "time_ids": torch.rand(2, 6) * 1024}
    with torch.inference_mode():
        stock = unet(*inputs, added_cond_kwargs=added, return_dict=False)[0]
        simplify_blocks(unet)
        assert torch.equal(unet(*inputs, added_cond_kwargs=added, return_dict=False)[0], stock)
    assert kinds(unet) == {DirectAttention, DirectResnetBlock}


@pytest.mark.parametrize("context", [None, 77])
@pytest.mark.parametrize("pixels", [16, 1100])
def test_attention_in_slices_is_the_stock_attention(context: int | None, pixels: int) -> None:
    """Given a UNet's attention block, when it works in slices, then the result is the stock processor's."""
    torch.manual_seed(0)
    block = Attention(query_dim=32, cross_attention_dim=None if context is None else 24, heads=4, dim_head=8)
    block.requires_grad_(False)
    states = torch.randn(2, pixels, 32)
    text = None if context is None else torch.randn(2, context, 24)
    stock = block(states, encoder_hidden_states=text)
    simplify_blocks(block, SlicedAttention)
    assert kinds(block) == {SlicedAttention}
    torch.testing.assert_close(block(states, encoder_hidden_states=text), stock, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "block",
    [
        Attention(query_dim=32, heads=4, dim_head=8, residual_connection=True),
        Attention(query_dim=32, heads=4, dim_head=8, added_kv_proj_dim=16),
        Attention(query_dim=32, heads=4, dim_head=8, norm_num_groups=4),
        Attention(query_dim=32, heads=4, dim_head=8, rescale_output_factor=2.0),
        Attention(query_dim=32, heads=4, dim_head=8, qk_norm="layer_norm"),
        ResnetBlock2D(in_channels=32, temb_channels=16, down=True),
        ResnetBlock2D(in_channels=32, temb_channels=16, non_linearity="mish"),
        ResnetBlock2D(in_channels=32, temb_channels=16, time_embedding_norm="scale_shift"),
        ResnetBlock2D(in_channels=32, temb_channels=16, output_scale_factor=2.0),
    ],
)
def test_a_block_that_does_more_stays_as_it_is(block: Any) -> None:
    """Given a block with something that the direct form leaves out, when all are simplified, then it is not."""
    kind = type(block)
    simplify_blocks(block)
    assert type(block) is kind
