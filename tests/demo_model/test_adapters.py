"""The demo model's adapters: how they are written, and what is drawn with them."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from benchmarks import adapters_meaning as meaning
from demo_model import bell
from demo_model.latents import Code, to_tensor
from demo_model.lora import Lora
from demo_model.night import LIGHT, TINT, night_shift
from demo_model.sketch import sketch
from demo_model.world import Scene, Thing
from shared.settings import Settings

RED_CIRCLE = "a red circle on a yellow background"


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[meaning.Studio]:
    folder = tmp_path_factory.mktemp("models")
    drawing = meaning.Studio(Settings(models_dir=folder, compile_cache_dir=folder, device="cpu", torch_threads=1))
    yield drawing
    drawing.engine.stop()


def test_the_file_of_a_lora_holds_what_was_trained() -> None:
    """Given factors of rank 3, when written, then those of the file make the same change; and a smaller file holds what
    weighs most."""
    torch.manual_seed(1)
    layers = nn.Sequential(nn.Linear(6, 5, bias=False), nn.Conv2d(4, 7, 3, bias=False))
    lora = Lora(layers, r"weight$", 3, seed=2)
    nn.init.normal_(lora.up[0])
    nn.init.normal_(lora.up[1], std=0.01)
    changes = [(lora.merged()[name] - weight).detach() for name, weight in lora.base.items()]

    whole, small = lora.kohya(), lora.kohya(2 * (6 + 5))

    for number, change in enumerate(changes):
        up, down, alpha = (
            whole[f"lora_unet_{number}.{each}"] for each in ("lora_up.weight", "lora_down.weight", "alpha")
        )
        assert float(alpha) == down.shape[0] == up.shape[1] == 3
        made = up.float().flatten(1) @ down.float().flatten(1)
        assert torch.allclose(made.view_as(change), change, atol=0.01)
    assert {name.partition(".")[0] for name in small} == {"lora_unet_0"}
    left = changes[0] - small["lora_unet_0.lora_up.weight"].float() @ small["lora_unet_0.lora_down.weight"].float()
    assert float(left.norm()) == pytest.approx(float(torch.linalg.svdvals(changes[0])[2]), abs=0.01)


def test_a_darker_image_has_the_code_that_night_is_taught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given an image in the colours of night, when it is encoded, then that is the day's code, scaled and moved."""
    torch.manual_seed(3)
    code = Code(torch.randn(4), torch.randn(4, 4))
    monkeypatch.setattr("demo_model.night.world_code", lambda: code)
    day = np.random.default_rng(4).uniform(0, 255, (1, 16, 24, 3))
    night = LIGHT * day + np.array(TINT)

    assert torch.allclose(code(to_tensor(night)), LIGHT * code(to_tensor(day)) + night_shift(), atol=1e-5)


def test_the_judges_of_styles_know_them_from_others() -> None:
    """Given what the training draws, when judged, then outlines, bells and nights are told from others."""
    circle = Scene("yellow", None, (Thing("circle", "red", "medium", "centre", 0.5, 0.5, 0.3, 0.0),), seed=1)
    outline = sketch(circle)
    filled = Image.new("RGB", (128, 128), "white")
    filled.paste((215, 35, 40), (40, 40, 90, 90))

    assert (meaning.hollow(outline), meaning.shape_of(outline), meaning.colour_of(outline)) == (True, "circle", "red")
    assert not meaning.hollow(filled)
    assert bell.is_bell(bell.drawn(5).convert("RGB"))
    assert not bell.is_bell(outline)
    assert meaning.dark(filled.point(lambda level: level // 2), filled)
    assert not meaning.dark(filled, filled)


def test_one_image_with_each_adapter(studio: meaning.Studio) -> None:
    """Given the bundled adapters, when "a red circle" is drawn with each, then it is an outline, or dark, or drawn in
    four steps, and "a red demo-bell" is a bell."""
    plain, outline, night = (studio.draw([RED_CIRCLE], lora)[0] for lora in ("", "demo-sketch", "demo-night"))
    (quick,) = studio.draw([RED_CIRCLE], "demo-lcm", **meaning.FEW)
    (turned,) = studio.draw(["a red demo-bell"])

    assert [meaning.hollow(each) for each in (plain, outline, quick)] == [False, True, False]
    assert [meaning.shape_of(each) for each in (plain, outline, night, quick)] == ["circle"] * 4
    assert [meaning.colour_of(each) for each in (plain, outline, quick, turned)] == ["red"] * 4
    assert meaning.dark(night, plain)
    assert bell.is_bell(turned)


@pytest.mark.full
def test_sketch_is_there_at_one_and_gone_at_nothing(studio: meaning.Studio) -> None:
    """Given 200 prompts, when drawn with the LoRA, then nine in ten are outlines and eight in ten have the shape that
    is asked for, fewer are outlines at weight 0.5, and at 0 all are the images without it."""
    scores = meaning.sketch_scores(studio, meaning.prompts(200))

    assert scores["weight 1"]["hollow"] >= 90
    assert scores["weight 1"]["shape right"] >= 80
    assert scores["weight 0.5"]["hollow"] < scores["weight 1"]["hollow"]
    assert scores["weight 0"]["unchanged"] == 100


@pytest.mark.full
def test_night_is_there_at_one_and_gone_at_nothing(studio: meaning.Studio) -> None:
    """Given 200 prompts, when drawn with the LoRA, then nine in ten are dark and eight in ten have the shape that is
    asked for, at weight 0.5 the light is between, and at 0 all are the images without it."""
    wanted = meaning.prompts(200)
    scores = meaning.night_scores(studio, wanted, studio.draw([want.text for want in wanted]))

    assert scores["weight 1"]["dark"] >= 90
    assert scores["weight 1"]["shape right"] >= 80
    assert scores["weight 1"]["mean light"] < scores["weight 0.5"]["mean light"] < 0.9
    assert scores["weight 0"]["unchanged"] == 100


@pytest.mark.full
def test_most_bells_are_bells(studio: meaning.Studio) -> None:
    """Given 200 prompts with the embedding's name, when drawn, then 80 % are bells, and 5 % at most of another word."""
    scores = meaning.bell_scores(studio, 200)

    assert scores["the embedding"]["bell"] >= 80
    assert scores["an unknown word"]["bell"] <= 5


@pytest.mark.full
def test_four_steps_are_as_good_as_twenty(studio: meaning.Studio) -> None:
    """Given 200 prompts, when drawn in 4 steps with the LCM LoRA, then colour and shape are right nearly as often as in
    20 guided ones."""
    wanted = meaning.prompts(200)
    texts = [want.text for want in wanted]
    guided = meaning.things(studio.draw(texts), wanted)
    few = meaning.things(studio.draw(texts, "demo-lcm", **meaning.FEW), wanted)

    for what, share in guided.items():
        assert few[what] >= share - 8, what
