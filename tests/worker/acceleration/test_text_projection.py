"""A text whose keys and values were made before tells a UNet the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention

from shared.catalogue.models import Catalogue
from worker.acceleration.blocks import simplify_blocks
from worker.acceleration.text_projection import TextProjection


@pytest.mark.parametrize("name", ["demo", "layout-sd15", "layout-sd21v", "layout-sdxl"])
def test_a_text_that_was_projected_says_the_same(name: str, models_dir: Path, catalogue: Catalogue) -> None:
    """Given two items with texts of their own, when each was projected before, then the result is the stock one."""
    model = catalogue.find(name)
    folder = model and model.place(models_dir)
    unet = UNet2DConditionModel.from_pretrained(str(folder), subfolder="unet").eval()
    torch.manual_seed(0)
    inputs = torch.randn(2, 4, 16, 24), torch.tensor([7.0, 801.0])
    text = torch.randn(2, 154, unet.config.cross_attention_dim)
    told: dict[str, Any] = {
        "added_cond_kwargs": {"text_embeds": torch.randn(2, 20), "time_ids": torch.rand(2, 6) * 1024},
        "return_dict": False,
    }
    with torch.inference_mode():
        stock = unet(*inputs, text, **told)[0]
        simplify_blocks(unet)
        project = TextProjection(unet)
        projected = torch.cat([project(item) for item in text.split(1)])
        assert projected.shape[:2] == text.shape[:2]
        assert projected.shape[2] != text.shape[2]
        torch.testing.assert_close(unet(*inputs, projected, **told)[0], stock, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(unet(*inputs, projected.flip(0), **told)[0], stock, atol=1e-3)


def test_a_text_stays_as_it_is_for_blocks_that_are_not_direct() -> None:
    """Given a cross-attention that does more than ours, when texts are projected, then nothing is."""
    blocks = torch.nn.ModuleList(
        Attention(query_dim=32, cross_attention_dim=24, heads=4, dim_head=8, residual_connection=more)
        for more in (False, True)
    )
    simplify_blocks(blocks)
    text = torch.randn(1, 77, 24)
    assert TextProjection(blocks)(text) is text
    assert all(getattr(block, "columns", None) is None for block in blocks)
