"""Weights that are kept in 16 bits count half, and compute as those in 32 bits do."""

import copy
from typing import Any

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from shared.catalogue.models import Catalogue
from shared.settings import Settings
from worker.acceleration import prepare as preparation
from worker.acceleration.low_rank import PREFIX, LowRankLayers
from worker.acceleration.narrow_weights import keep_narrow
from worker.hardware.devices import Device
from worker.hardware.variants import PROFILES, choose_precision
from worker.models.cache import CheckpointCache

TOKENS = torch.tensor([[49, 3, 5, 8, 48]])


@pytest.fixture(params=[torch.float16, torch.bfloat16], ids=str)
def encoder(request: pytest.FixtureRequest) -> Any:
    """One whose weights are those of a file in 16 bits."""
    config = CLIPTextConfig(
        vocab_size=50, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        projection_dim=16, bos_token_id=49, eos_token_id=48, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    return CLIPTextModelWithProjection(config).to(request.param).float().eval().requires_grad_(False)


def test_a_text_encoder_in_16_bits_encodes_as_in_32(encoder: Any) -> None:
    """Given a text encoder out of 16 bits, when kept so, then it takes about half and every bit it makes is the
    same."""
    before = copy.deepcopy(encoder)
    keep_narrow(encoder)
    sizes = [sum(weight.nbytes for weight in each.parameters()) for each in (encoder, before)]
    assert sizes[0] < 0.55 * sizes[1]
    one, two = encoder(TOKENS, output_hidden_states=True), before(TOKENS, output_hidden_states=True)
    assert torch.equal(one.text_embeds, two.text_embeds)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(one.hidden_states, two.hidden_states, strict=True))
    assert one.text_embeds.dtype == torch.float32


def test_what_16_bits_do_not_hold_stays(encoder: Any) -> None:
    """Given a weight with a number that needs 32 bits, when the others are kept in 16, then that one is as it was."""
    layer = encoder.get_submodule("text_projection")
    layer.weight.data[0, 0] = 1 / 3
    before = layer.weight.clone()
    keep_narrow(encoder)
    assert torch.equal(layer.weight, before)
    assert layer.weight.dtype == torch.float32
    assert encoder.get_submodule("text_model.encoder.layers.0.mlp.fc1").weight.dtype != torch.float32


def test_what_loras_add_to_is_computed_in_32_bits(encoder: Any) -> None:
    """Given weights in 16 bits, when layers are changed for a LoRA, then the change is in 32 bits, as the layers
    compute."""
    before = copy.deepcopy(encoder)
    made = []
    for each in (encoder, before):
        if each is encoder:
            keep_narrow(each)
        layers = LowRankLayers(each, lambda _path: PREFIX)
        assert layers.dtype == torch.float32
        change = torch.randn((1, layers.widths[PREFIX], 2), generator=torch.Generator().manual_seed(0))
        layers.listen()
        with layers.applied({PREFIX: change}):
            made.append(each(TOKENS).text_embeds)
    assert torch.equal(*made)


def test_a_large_text_encoder_on_a_cpu_takes_what_its_file_takes(
    settings: Settings, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a text encoder that counts as large and a file of 16 bits, when loaded in float32, then it is in 16."""
    monkeypatch.setattr(preparation, "_LARGE_TEXT_ENCODER", 0)
    device = Device("cpu")
    full = choose_precision("full", PROFILES["cpu"], device)
    loaded = CheckpointCache(settings, catalogue, device, PROFILES["cpu"]).get("demo", full, ())
    for encoder in loaded.parts.text_encoders.values():
        matrices = [weight for weight in encoder.parameters() if weight.dim() == 2]
        assert matrices
        assert all(weight.dtype == torch.float16 for weight in matrices)
