"""What a weighted word means in the world: scenes that follow it, hidden states as the service scales them."""

import math
import random
import statistics

import pytest
import torch

from demo_model.captions import SIZE_WORDS
from demo_model.emphasis import STRONGEST, emphasised, scaled, token_weights

SCENES = [emphasised(random.Random(seed)) for seed in range(600)]


def test_the_weighted_word_stands_in_the_caption() -> None:
    """Given many scenes, when each is described, then its weighted word is there, and its weight within bounds."""
    for _, text, emphasis in SCENES:
        assert emphasis.word in text.replace(",", " ").split()
        assert 1 / STRONGEST <= emphasis.weight <= STRONGEST


@pytest.mark.parametrize(("size", "sign"), [("large", 1), ("small", -1)])
def test_a_heavier_size_word_is_more_of_that_size(size: str, sign: int) -> None:
    """Given weighted sizes, when the weight grows, then large grows larger and small smaller."""
    pairs = [
        (emphasis.weight, scene.things[0].radius)
        for scene, _, emphasis in SCENES
        if emphasis.word in SIZE_WORDS[size] and scene.things[0].place == "centre"
    ]
    light, heavy = ([radius for weight, radius in pairs if (weight > 1) == above] for above in (False, True))
    assert sign * (statistics.mean(heavy) - statistics.mean(light)) > 0.03


def test_a_heavier_colour_is_drawn_more_often() -> None:
    """Given two or three colours, when one is weighted, then it is drawn the more often the heavier it is."""
    chosen = [(emphasis.weight, scene.things[0].colour == emphasis.word) for scene, text, emphasis in SCENES
              if " or " in text or text.count(",") == text.count(" ") - 2]  # fmt: skip
    light = statistics.mean(hit for weight, hit in chosen if weight < 0.8)
    heavy = statistics.mean(hit for weight, hit in chosen if weight > 1.25)
    assert heavy > light + 0.3


def test_scaling_keeps_the_mean_and_touches_its_tokens_only_in_proportion() -> None:
    """Given hidden states, when one token is weighted, then their mean stays and it grows against the others."""
    states = torch.rand(2, 5, 8, generator=torch.Generator().manual_seed(1)) + 0.5
    weights = token_weights(torch.tensor([[1, 2, 3, 4, 4], [1, 5, 2, 4, 4]]), [{2}, {9}], [1.5, 1.5])
    done = scaled(states, weights)
    assert torch.allclose(done.mean(dim=(1, 2)), states.mean(dim=(1, 2)))
    assert torch.equal(done[1], states[1])
    ratio = done[0] / states[0]
    assert math.isclose(float(ratio[1].mean() / ratio[0].mean()), 1.5, rel_tol=1e-5)


def test_the_service_scales_the_same_way() -> None:
    """Given the demo model and a weighted prompt, when the service encodes it, then its hidden states are these."""
    from shared.catalogue.entries import load_catalogue
    from shared.settings import Settings
    from worker.families import FAMILIES
    from worker.hardware.devices import Device
    from worker.hardware.variants import choose_precision, profile_for
    from worker.models.cache import CheckpointCache
    from worker.text.conditioning import TEXT, ConditioningInputs

    device = Device("cpu")
    profile = profile_for("cpu", device)
    cache = CheckpointCache(Settings(), load_catalogue("demo"), device, profile)
    checkpoint = cache.get("demo", choose_precision("full", profile, device), ())
    with torch.no_grad():
        inputs = ConditioningInputs("a (large:1.4) red circle", "", 128, 128, 7.5)
        theirs = FAMILIES["sd1"].encode(checkpoint, inputs).positive[TEXT]
        tokenizer, encoder = checkpoint.parts.tokenizers["tokenizer"], checkpoint.parts.text_encoders["text_encoder"]
        ids = tokenizer("a large red circle", padding="max_length", max_length=77, return_tensors="pt").input_ids
        word = set(tokenizer("large", add_special_tokens=False).input_ids)
        ours = scaled(encoder(ids)[0], token_weights(ids, [word], [1.4]))
    assert torch.allclose(theirs, ours, atol=1e-5)
