"""The infotext in our images as other programs read it: the package sd-parsers, and A1111's own rules."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sd_parsers import ParserManager
from sd_parsers.data import PromptInfo

from api.dialects.a1111.infotext import fields_of_infotext
from api.dialects.a1111.parameters import translated
from api.dialects.receipts.infotext import read_infotext
from shared.catalogue.entries import load_catalogue
from shared.catalogue.samplers import SAMPLERS
from shared.request.image_text import stored_infotext
from shared.request.intake import load_request
from shared.request.limits import Limits
from shared.request.model import ImageRequest
from shared.request.parameters import image_parameters
from shared.request.schemas import GenerateSchema
from worker.images.encode import encode

CATALOGUE = load_catalogue("demo")
SCHEMA = GenerateSchema(Limits(CATALOGUE, Path("prompts"), 16_000_000, 10_000, 64, 10**12))
PROMPTS = (
    ("a cat", ""),
    ("a (red:1.2) cat, sitting; 2:1", "a dog, [ugly], Steps: 20"),
    ("ein Käfer, 猫 😀", "grün"),
    ("two\nlines", "also\ntwo"),
    ("", ""),
)
FORMATS = ("png", "jpg", "webp")


def request(**fields: Any) -> ImageRequest:
    body = {"prompt": "a cat", "seed": 42, "ddim_steps": 9, "scale": 7.5, "W": 64, "H": 128} | fields
    return load_request(SCHEMA, body)[0]


def image_of(request: ImageRequest, form: str = "png") -> bytes:
    """The file of the first image of a request, as a worker writes it."""
    return encode(Image.new("RGB", (16, 16)), form, image_parameters(request, 0, 0, {"device": "cpu"}, []))


# the package tells images apart by their address in memory: one that is kept cannot be taken for another
_read: list[Image.Image] = []


def read_by_sd_parsers(data: bytes) -> PromptInfo:
    _read.append(Image.open(io.BytesIO(data)))
    found = ParserManager().parse(_read[-1])
    assert found is not None
    return found


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_sd_parsers_reads_back_what_was_drawn(name: str, form: str) -> None:
    """Given an image of each sampler and format, when sd-parsers reads it, then every value is as it was."""
    asked = request(prompt="a (red:1.2) cat, sitting", negative_prompt="a dog", sampler=name, ckpt="sd15", scale=4)
    read = read_by_sd_parsers(image_of(asked, form))
    (sampler,) = read.samplers
    assert sampler.name == SAMPLERS[name].label
    assert sampler.parameters == {"steps": "9", "cfg_scale": "4", "seed": "42"}
    assert (read.full_prompt, read.full_negative_prompt) == ("a (red:1.2) cat, sitting", "a dog")
    assert [model.name for model in read.models] == ["sd15"]
    assert read.metadata["Size"] == "64x128"


@pytest.mark.parametrize(("prompt", "negative"), PROMPTS)
def test_sd_parsers_reads_back_any_prompt(prompt: str, negative: str) -> None:
    """Given prompts with marks, lines and scripts of all kinds, when sd-parsers reads them, then they are unchanged."""
    read = read_by_sd_parsers(image_of(request(prompt=prompt, negative_prompt=negative)))
    assert (read.full_prompt, read.full_negative_prompt) == (prompt, negative)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("prompt", "negative"), PROMPTS)
def test_by_a1111s_rules_the_image_can_be_asked_for_again(prompt: str, negative: str, form: str) -> None:
    """Given an image, when its infotext is read by A1111's rules and sent as a request, then that is the same one."""
    asked = request(prompt=prompt, negative_prompt=negative, sampler="k_dpmpp_2m_ka", ckpt="sd15", skip_save=True)
    text = stored_infotext(image_of(asked, form))
    again = translated(fields_of_infotext(text), CATALOGUE, CATALOGUE.default)
    assert load_request(SCHEMA, again.fields)[0] == asked


@pytest.mark.parametrize("name", SAMPLERS)
def test_by_a1111s_rules_every_value_is_found(name: str) -> None:
    """Given an image of each sampler, when its infotext is read by A1111's rules, then every value is as it was."""
    read = read_infotext(stored_infotext(image_of(request(sampler=name, scale=0.5, ddim_eta=0.25))))
    assert read.items() >= {
        "Prompt": "a cat", "Negative prompt": "", "Steps": "9", "Sampler": SAMPLERS[name].label, "CFG scale": "0.5",
        "Seed": "42", "Size-1": "64", "Size-2": "128", "Model": "demo",
    }.items()  # fmt: skip


def test_what_is_not_as_usual_is_written_and_read_back() -> None:
    """Given a schedule, skipped layers and other guidance, when the infotext is read, then each is there, and A1111's
    own are asked for again; as usual, none of them is."""
    ways = {"schedule": "sgm_uniform", "clip_skip": 2, "guidance_rescale": 0.7, "guidance_until": 0.5}
    text = stored_infotext(image_of(request(sampler="k_dpmpp_2m", **ways)))
    read = read_infotext(text)
    told = {"Schedule type": "SGM Uniform", "Clip skip": "2", "CFG Rescale": "0.7", "Guidance until": "0.5"}
    assert read.items() >= told.items()
    again = load_request(SCHEMA, translated(fields_of_infotext(text), CATALOGUE, CATALOGUE.default).fields)[0]
    assert (again.params.schedule, again.params.clip_skip) == ("sgm_uniform", 2)
    assert not told.keys() & read_infotext(stored_infotext(image_of(request()))).keys()
