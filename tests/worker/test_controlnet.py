"""Images that follow control images: those of the stock pipelines, whoever shares their forward passes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from shared.catalogue.models import Catalogue
from shared.errors import InvalidRequest, ModelUnavailable
from shared.request.control import Control
from shared.request.hires import Hires
from shared.settings import Settings
from tests.images import SAME, decibels
from tests.worker.controlnets import found, write_controlnet
from tests.worker.stock import SEED, Stock
from tests.worker.test_batching import held_back, silent, together
from worker.engine import DenoiseRequest, Engine

pytestmark = pytest.mark.slow

FAMILIES = {"tiny-sd1": "sd1", "tiny-sd2": "sd2", "tiny-sdxl": "sdxl"}


@pytest.fixture(scope="module")
def files(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Two ControlNets for each tiny model, by name."""
    folder = tmp_path_factory.mktemp("controlnets")
    return {
        f"{model}-{number}": write_controlnet(models_dir, model, folder / f"{model}-{number}", number)
        for model in FAMILIES
        for number in (1, 2)
    }


@pytest.fixture(scope="module")
def controlled(settings: Settings, catalogue: Catalogue, files: Mapping[str, Path]) -> Iterator[Engine]:
    """An engine that has them."""
    others = [found(name, FAMILIES[name[:-2]], file) for name, file in files.items()]
    engine = Engine(settings, Catalogue({model.name: model for model in catalogue}, "tiny-sd1", others))
    engine.start()
    yield engine
    engine.stop()


def noise_image(seed: int, size: tuple[int, int] = (64, 64)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def following(model: str, *further: dict[str, Any]) -> dict[str, Any]:
    """What a request has that follows images: by the first ControlNet of its model, by the second, and so on."""
    controls = tuple(Control(model=f"{model}-{place + 1}", **each) for place, each in enumerate(further))
    return {
        "model": model, "controlnet": controls,
        "images": {f"controlnet.{place}": noise_image(place) for place in range(len(further))},
    }  # fmt: skip


WAYS: Mapping[str, tuple[dict[str, Any], ...]] = {
    "one": ({},),
    "two": ({"weight": 0.5}, {"weight": 1.5}),
    "some-steps": ({"start": 0.3, "end": 0.8},),
    "control": ({"mode": "control"},),
}


# the others in test-full
FEW = (("tiny-sd1", False, "control"), ("tiny-sd1", True, "two"), ("tiny-sdxl", False, "some-steps"))
CASES = [
    pytest.param(model, from_image, way, marks=[] if (model, from_image, way) in FEW else pytest.mark.full)
    for model in FAMILIES
    for from_image in (False, True)
    for way in WAYS
]


@pytest.mark.parametrize(("model", "from_image", "way"), CASES)
def test_images_equal_those_of_the_stock_pipelines(
    model: str, from_image: bool, way: str, controlled: Engine, files: Mapping[str, Path], stock: Stock,
    request_for: Callable[..., DenoiseRequest],
) -> None:  # fmt: skip
    """Given control images, when an image is made or reworked, then its latents are those of the stock pipeline."""
    controls = WAYS[way]
    image = noise_image(7) if from_image else None
    wanted = request_for(
        **following(model, *controls), sampler="ddim", steps=5, noise_seed=SEED, step_seed=SEED, init_image=image,
        strength=0.7 if image else 1.0,
    )  # fmt: skip
    nets = [
        diffusers.ControlNetModel.from_pretrained(str(files[control.model].parent))
        for control in wanted.params.controlnet
    ]
    weights, images = [each.get("weight", 1.0) for each in controls], list(wanted.images.values())
    starts, ends = [each.get("start", 0.0) for each in controls], [each.get("end", 1.0) for each in controls]
    one = len(controls) == 1
    told = {"image": image, "control_image": images} if from_image else {"image": images}
    arguments: dict[str, Any] = {
        **({name: value[0] if isinstance(value, list) else value for name, value in told.items()} if one else told),
        "controlnet_conditioning_scale": weights[0] if one else weights,
        "control_guidance_start": starts[0] if one else starts,
        "control_guidance_end": ends[0] if one else ends,
        "guess_mode": controls[0].get("mode") == "control",
    }
    family = "StableDiffusionXL" if model == "tiny-sdxl" else "StableDiffusion"
    kind = getattr(diffusers, f"{family}ControlNet{'Img2Img' if from_image else ''}Pipeline")
    parts = {"controlnet": nets[0] if one else nets}
    replace(stock, engine=controlled).assert_same_latents(wanted, kind=kind, parts=parts, **arguments)


def mixed(request_for: Callable[..., DenoiseRequest], model: str) -> list[DenoiseRequest]:
    """Requests with and without control images, in different ways."""
    ways: list[dict[str, Any]] = [
        {"model": model},
        following(model, {}),
        following(model, {"mode": "prompt"}, {"weight": 0.3, "end": 0.5}),
        {"model": model, "guidance_scale": 1.0},
        following(model, {"mode": "control", "start": 0.4}),
        following(model, {"weight": 0.0}),
        following(model, {}) | {"guidance_scale": 1.0},
    ]
    return [request_for(steps=8 + number, noise_seed=number, **way) for number, way in enumerate(ways)]


@pytest.mark.parametrize("model", ["tiny-sd1", pytest.param("tiny-sdxl", marks=pytest.mark.full)])
def test_requests_with_and_without_control_images_share_passes(
    model: str, controlled: Engine, request_for: Callable[..., DenoiseRequest], passes: list[int]
) -> None:
    """Given requests that follow no image, one or two, each in its way, when they run together, then they share forward
    passes of the denoiser, and each gets the image that it gets alone."""
    requests = mixed(request_for, model)
    solo = [controlled.submit(request, silent).result(60) for request in requests]
    assert decibels(solo[1].image, solo[2].image) < SAME
    shared = together(controlled, requests, request_for(model=model, steps=30), passes)
    assert min(decibels(one.image, two.image) for one, two in zip(solo, shared, strict=True)) >= SAME


def test_a_weight_of_zero_changes_nothing(controlled: Engine, request_for: Callable[..., DenoiseRequest]) -> None:
    """Given a ControlNet that counts nothing, or in a share of the steps that has none, when an image is drawn, then
    it is the one without, bit for bit."""
    plain = controlled.submit(request_for(), silent).result(60).image
    for off in ({"weight": 0.0}, {"start": 0.99}):
        image = controlled.submit(request_for(**following("tiny-sd1", off)), silent).result(60).image
        assert np.array_equal(np.asarray(image), np.asarray(plain))


def test_zeros_added_change_no_bit(
    controlled: Engine, request_for: Callable[..., DenoiseRequest], latents: list[torch.Tensor]
) -> None:
    """Given a request without control images beside one with, when they share passes, then its latents are the bits
    that it has beside one without."""
    plain = request_for(steps=6, sampler="ddim", noise_seed=5)

    def beside(other: DenoiseRequest) -> torch.Tensor:
        latents.clear()
        holder, go_on = held_back(controlled, request_for(steps=1, width=72))
        tickets = [controlled.submit(other, silent), controlled.submit(plain, silent)]
        go_on.set()
        for ticket in (holder, *tickets):
            ticket.result(60)
        return latents[-1]

    neighbour = request_for(steps=6, sampler="ddim", noise_seed=9)
    alike = beside(neighbour)
    following_one = replace(
        request_for(**following("tiny-sd1", {})), noise_seed=9,
        params=replace(neighbour.params, controlnet=following("tiny-sd1", {})["controlnet"]),
    )  # fmt: skip
    assert torch.equal(beside(following_one), alike)


@pytest.mark.parametrize(
    ("further", "error", "says"),
    [
        ({"controlnet": (Control(model="tiny-sd2-1"),)}, InvalidRequest, "another structure"),
        ({"controlnet": (Control(model="nowhere"),)}, ModelUnavailable, "GET /controlnets"),
        ({"controlnet": (Control(model="tiny-sd1-1"),), "images": {}}, InvalidRequest, "missing"),
    ],
)
def test_what_cannot_be_followed_ends_its_own_request(
    further: dict[str, Any], error: type[Exception], says: str, controlled: Engine,
    request_for: Callable[..., DenoiseRequest],
) -> None:  # fmt: skip
    """Given a ControlNet of another structure, of no file, or without an image, when it is asked for, then that request
    ends with a sentence."""
    wanted = request_for(**{"images": {"controlnet.0": noise_image(0)}, "model": "tiny-sdxl"} | further)
    with pytest.raises(error) as refused:
        controlled.submit(wanted, silent).result(60)
    assert says in f"{refused.value} {getattr(refused.value, 'fields', '')}"


def test_a_worker_with_openvino_refuses_by_name(
    controlled: Engine, request_for: Callable[..., DenoiseRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a denoiser that cannot be told what ControlNets add, when one is asked for, then the request ends with a
    sentence, and others are drawn."""
    controlled.submit(request_for(), silent).result(60)
    (checkpoint,) = (each for each in controlled._cache._loaded.values() if each.model.name == "tiny-sd1")
    monkeypatch.setattr(checkpoint, "takes_residuals", False)
    with pytest.raises(InvalidRequest) as refused:
        controlled.submit(request_for(**following("tiny-sd1", {})), silent).result(60)
    assert "OpenVINO" in refused.value.fields["controlnet"][0]
    assert controlled.submit(request_for(), silent).result(60).image


def test_both_passes_of_a_large_image_follow(controlled: Engine, request_for: Callable[..., DenoiseRequest]) -> None:
    """Given an image of two passes, when it follows an image, then it has its size and differs from one without, and is
    the same each time."""
    hires = Hires(first_width=64, first_height=64, upscaler="lanczos", steps=3, strength=0.6)
    large: dict[str, Any] = {"hires": hires, "width": 96, "height": 96, "steps": 4}
    images = [
        controlled.submit(request_for(**large, **way), silent).result(60).image
        for way in ({}, following("tiny-sd1", {}), following("tiny-sd1", {}))
    ]
    assert images[0].size == images[1].size == (96, 96)
    assert decibels(images[0], images[1]) < SAME
    assert np.array_equal(np.asarray(images[1]), np.asarray(images[2]))
