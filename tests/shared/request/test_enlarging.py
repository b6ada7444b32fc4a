"""Upscalers of requests that draw, by name: between two passes, and for what is delivered."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from shared.catalogue.kinds import UPSCALER
from shared.catalogue.models import OtherFile
from shared.errors import InvalidRequest
from shared.request.cost import job_cost
from shared.request.image_to_image import Size, encoded_size
from shared.request.limits import Limits
from shared.request.model import ImageRequest
from shared.request.parameters import wire_parameters

ULTRA = OtherFile("4x-Ultra", UPSCALER, "", "MODELS_DIR/ESRGAN/4x-Ultra.pth", 5, "enlarges images and draws none")
BROKEN = replace(
    ULTRA, name="2x-Broken", shown="MODELS_DIR/ESRGAN/2x-Broken.pth", unusable="needs the package spandrel"
)


@pytest.fixture
def with_networks(limits: Limits) -> None:
    """Two networks among the models, one of which cannot be used."""
    contents = limits.catalogue.contents()
    limits.catalogue.replace(replace(contents, others=(ULTRA, BROKEN)))


@pytest.mark.usefixtures("with_networks")
def test_a_network_enlarges_between_two_passes_by_name(generate: Callable[..., ImageRequest]) -> None:
    """Given two passes and a network by its name or file, in any case, when loaded, then the network is meant, its cost
    is that of the first pass' pixels, and what is told asks for it again."""
    for name in ("4x-Ultra", "4X-ULTRA", "4x-Ultra.pth"):
        request = generate(hires={"scale": 2, "upscaler": name}, seed=1)
        assert request.params.hires
        assert (request.params.hires.upscaler, request.params.hires.strength) == ("4x-Ultra", 0.2)
        assert request.networks == {"4x-Ultra"}
    plain = generate(hires={"scale": 2}, seed=1)
    assert job_cost(request) - job_cost(plain) == 24 * 128 * 128
    told = wire_parameters(request)
    assert generate({name: told[name] for name in ("W", "H", "hires")}, seed=1) == request
    assert ImageRequest.from_json(request.to_json()) == request


@pytest.mark.usefixtures("with_networks")
def test_a_network_delivers_larger_images_by_name(
    generate: Callable[..., ImageRequest], img2img: Callable[..., Any]
) -> None:
    """Given an output size or a factor beyond what is drawn, when an upscaler is named, then it delivers, and its cost
    is known; where nothing becomes larger a warning says that it is not used."""
    size = {"W": 128, "H": 128, "output_width": 512, "output_height": 512}
    for request in (generate(size, upscaler="4x-ultra"), img2img(W=128, H=128, post_upscale=2, upscaler="4x-ultra")[0]):
        assert (request.upscaler, request.delivering_network, request.networks) == (
            "4x-Ultra", "4x-Ultra", {"4x-Ultra"},
        )  # fmt: skip
        assert not [text for text in request.warnings if text.startswith("upscaler")]
    dear, cheap = generate(size, upscaler="4x-ultra", n_iter=2), generate(size, n_iter=2)
    assert job_cost(dear) - job_cost(cheap) == 2 * 24 * 128 * 128
    nearest = generate(size, upscaler="Nearest")
    assert (nearest.upscaler, nearest.delivering_filter, nearest.delivering_network) == ("nearest", "nearest", None)
    assert wire_parameters(dear)["upscaler"] == "4x-Ultra"
    as_drawn = generate(upscaler="4x-ultra")
    smaller = generate(W=128, H=128, output_width=64, output_height=64, upscaler="4x-ultra")
    for request, words in ((as_drawn, "not used"), (smaller, "only enlarges")):
        assert not request.networks
        assert [text for text in request.warnings if text.startswith("upscaler: ") and words in text]


@pytest.mark.usefixtures("with_networks")
@pytest.mark.parametrize(
    ("asked", "field", "words"),
    [
        ({"hires": {"scale": 2, "upscaler": "4x-Ultr"}}, "hires", "like it are: 4x-Ultra"),
        ({"hires": {"scale": 2, "upscaler": "lantent"}}, "hires", "like it are: latent"),
        ({"hires": {"scale": 2, "upscaler": "?"}}, "hires", "there are latent, lanczos, nearest, 4x-Ultra, 2x-Broken"),
        ({"hires": {"scale": 2, "upscaler": "2x-Broken"}}, "hires", "needs the package spandrel"),
        ({"upscaler": "Lancos"}, "upscaler", "like it are: lanczos"),
        ({"upscaler": "latent"}, "upscaler", "No upscaler is called so"),
        ({"upscaler": "2x-broken"}, "upscaler", "needs the package spandrel"),
        ({"upscaler": ""}, "upscaler", "Length must be"),
        ({"upscaler": 4}, "upscaler", "Must be text"),
        ({"upscaler": "x" * 1001}, "upscaler", "Length must be"),
    ],
)
def test_an_upscaler_that_cannot_be_used_is_refused(
    generate: Callable[..., ImageRequest], asked: dict[str, Any], field: str, words: str
) -> None:
    """Given an upscaler that is not here or cannot be used, when loaded, then the field says so, and which are like
    it."""
    with pytest.raises(InvalidRequest) as refused:
        generate(asked)
    assert list(refused.value.fields) == [field]
    assert words in refused.value.fields[field][0]


def test_latents_of_an_input_become_larger(img2img: Callable[..., Any]) -> None:
    """Given resize_input latent, when an input of 96x64 is loaded, then it is told on; where it is not smaller than
    what is drawn a warning says so, and beside a part that is drawn anew it is refused."""
    request = img2img(resize_input="latent", upscale=2)[0]
    assert (request.params.resize_input, request.params.width, request.params.height) == ("latent", 192, 128)
    assert request.warnings == ()
    assert ImageRequest.from_json(request.to_json()) == request
    assert wire_parameters(request)["resize_input"] == "latent"
    (said,) = img2img(resize_input="latent")[0].warnings
    assert said.startswith("resize_input: it changes nothing")
    for wrong in ({"resize_input": "latent", "expand": {"left": 8}}, {"resize_input": "nearest"}):
        with pytest.raises(InvalidRequest) as refused:
            img2img(wrong)
        assert list(refused.value.fields) == ["resize_input"]


@pytest.mark.parametrize(
    ("size", "drawn", "encoded"),
    [
        ((96, 64), (192, 128), (96, 64)), ((97, 60), (192, 128), (96, 64)), ((3, 2), (64, 64), (8, 8)),
        ((400, 64), (192, 128), (192, 64)), ((400, 300), (192, 128), (192, 128)),
    ],
)  # fmt: skip
def test_an_input_is_encoded_at_its_own_size(size: Size, drawn: Size, encoded: Size) -> None:
    """Given an input of any size, when its latents become larger, then it is encoded at the nearest size that a model
    takes, no larger than what is drawn; by pixels at the size that is drawn."""
    assert encoded_size("latent", size, drawn, 8) == encoded
    assert encoded_size("lanczos", size, drawn, 8) == drawn
