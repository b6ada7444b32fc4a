"""LoRAs and embeddings in the folder of models of a running service: listed, drawn with, told by images."""

import base64
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file

from shared.catalogue.models import REPOSITORY_ROOT
from tests.e2e.service import Service
from tests.images import SAME, decibels
from tests.worker.lora_writing import networks, write_kohya

DEMO = REPOSITORY_ROOT / "demo_model" / "weights"
BODY: dict[str, Any] = {
    "prompt": "a red circle", "seed": 7, "W": 64, "H": 64, "ddim_steps": 4, "scale": 7.0, "sampler": "ddim",
}  # fmt: skip
LORA = {"name": "sketch", "weight": 0.8, "text_weight": 0.8}


@dataclass(frozen=True)
class Files:
    """The SHA-256 of the LoRA `sketch` and of the embedding `spiral`."""

    sketch: str
    spiral: str


@pytest.fixture(scope="module")
def files(service: Service) -> Iterator[Files]:
    """A LoRA and an embedding for the demo model, as long as the tests of this module run."""
    width = networks(DEMO)["text_encoder"].get_input_embeddings().weight.shape[1]
    sketch, spiral = service.models_dir / "Lora" / "sketch.safetensors", service.models_dir / "spiral.safetensors"
    sketch.parent.mkdir()
    write_kohya(sketch, DEMO)
    save_file({"emb_params": torch.randn(2, width, generator=torch.Generator().manual_seed(1))}, spiral)
    service.refresh()
    yield Files(*(hashlib.sha256(file.read_bytes()).hexdigest() for file in (sketch, spiral)))
    sketch.unlink()
    sketch.parent.rmdir()
    spiral.unlink()
    service.refresh()


def file_of(service: Service, **more: Any) -> bytes:
    """An image by the native dialect, as it is delivered."""
    answer = service.post("/generate", BODY | {"synchronous_request": True} | more)
    assert answer.status_code == 200, answer.text
    return answer.content


def drawn(service: Service, **more: Any) -> Image.Image:
    return Image.open(io.BytesIO(file_of(service, **more)))


def asked(service: Service, path: str, body: Mapping[str, Any]) -> Any:
    answer = service.post(path, dict(body))
    assert answer.status_code == 200, answer.text
    return answer.json()


def sent(file: bytes) -> dict[str, str]:
    return {"image": base64.b64encode(file).decode()}


@pytest.mark.full
def test_a_lora_is_the_same_by_field_by_tag_and_in_a1111s_words(service: Service, files: Files) -> None:
    """Given a LoRA, when it is asked for in each way, then the images are one, another than without it; the infotext
    names it with its hash, and asks for the same image again."""
    assert [each["name"] for each in service.get("/loras").json()["loras"]] == [
        "sketch", "demo-lcm", "demo-night", "demo-sketch",
    ]  # fmt: skip
    plain, by_field = drawn(service), drawn(service, loras=[LORA])
    tag = "a red circle<lora:sketch:0.8>"
    by_tag = drawn(service, prompt=tag, lora_tags=True)
    told = {"prompt": tag, "seed": 7, "width": 64, "height": 64, "steps": 4, "cfg_scale": 7, "sampler_name": "DDIM"}
    answer = asked(service, "/sdapi/v1/txt2img", told | {"eta": 0})
    theirs = Image.open(io.BytesIO(base64.b64decode(answer["images"][0])))
    assert decibels(plain, by_field) < SAME
    for image in (by_tag, theirs):
        assert decibels(image, by_field) >= SAME
        assert image.info == by_field.info, "infotext and parameters"
    text = by_field.info["parameters"]
    assert text.startswith("a red circle <lora:sketch:0.8>\n")
    assert f'Lora hashes: "sketch: {files.sketch[:12]}"' in text
    jpg = file_of(service, loras=[LORA], format="jpg")
    assert asked(service, "/sdapi/v1/png-info", sent(jpg))["info"] == text
    receipt = asked(service, "/metadata", sent(jpg))
    assert (receipt["source"], receipt["warnings"]) == ("a1111", [])
    assert receipt["parameters"]["loras"] == [LORA]
    again = drawn(service, **receipt["parameters"])
    assert decibels(again, by_field) >= SAME


def test_an_image_with_a_lora_is_asked_for_by_the_parameters_of_its_answer(service: Service, files: Files) -> None:
    """Given the parameters that a job tells, when its LoRAs are sent back as they are, then the image is the same, and
    another than without them."""
    job = asked(service, "/generate", BODY | {"loras": [LORA], "synchronous_request": True, "return_base64": True})
    loras = job["Parameters"]["loras"]
    assert loras == [LORA | {"hash": files.sketch}]
    first = Image.open(io.BytesIO(base64.b64decode(job["Image"][0])))
    assert decibels(first, drawn(service, loras=loras)) >= SAME
    assert decibels(first, drawn(service)) < SAME


@pytest.mark.full
def test_an_embedding_is_found_by_its_name(service: Service, files: Files) -> None:
    """Given an embedding, when a prompt names it, then the image is another than without its file, and names it with
    its hash."""
    assert [each["name"] for each in service.get("/embeddings").json()["embeddings"]] == ["spiral", "demo-bell"]
    image = drawn(service, prompt="a red spiral")
    assert f'TI hashes: "spiral: {files.spiral[:12]}"' in image.info["parameters"]
    assert decibels(image, drawn(service, prompt="a red")) < SAME


@pytest.mark.full
def test_a_tag_of_what_is_not_here_is_refused(service: Service, files: Files) -> None:
    """Given A1111's clients, when a prompt names a LoRA that is not here, then 422 says so and what is like it."""
    assert files.sketch
    answer = service.post("/sdapi/v1/txt2img", {"prompt": "a cat <lora:sktch:1>"})
    assert answer.status_code == 422
    assert "No LoRA is called 'sktch'; like it are: sketch, demo-sketch." in answer.json()["errors"]


@pytest.mark.full
def test_an_accelerator_is_a_lora_with_what_follows_from_its_kind(service: Service, files: Files) -> None:
    """Given an LCM LoRA, when a request names it as its accelerator, natively or in OpenAI's words, then the image is
    the one of a request that says all of it, names the LoRA with its hash, and asks for the same image again; a name
    that is not here is refused with those like it."""
    quick = write_kohya(service.models_dir / "Lora" / "quick-lcm.safetensors", DEMO, seed=3)
    service.refresh()
    try:
        least = {name: BODY[name] for name in ("prompt", "seed", "W", "H")}
        image = image_of(service, least | {"accelerator": "quick-lcm"})
        spelt = {"loras": [{"name": "quick-lcm"}], "ddim_steps": 4, "scale": 1, "sampler": "lcm"}
        assert decibels(image, image_of(service, least | spelt)) >= SAME
        assert decibels(image, image_of(service, least | spelt | {"loras": []})) < SAME
        told = json.loads(image.info["personal_diffusion"])
        assert (told["accelerator"], told["ddim_steps"], told["warnings"]) == ("quick-lcm", 4, [])
        assert told["loras"][0]["hash"] == hashlib.sha256(quick.read_bytes()).hexdigest()
        assert image.info["parameters"].startswith("a red circle <lora:quick-lcm:1>\n")
        receipt = asked(service, "/metadata", sent(png_of(image)))["parameters"]
        assert decibels(image, image_of(service, receipt)) >= SAME
        openai = {"prompt": "a red circle", "size": "64x64", "seed": 7, "accelerator": "quick-lcm"}
        theirs = asked(service, "/v1/images/generations", openai | {"response_format": "b64_json"})["data"][0]
        parameters = Image.open(io.BytesIO(base64.b64decode(theirs["b64_json"]))).info["personal_diffusion"]
        assert json.loads(parameters)["ddim_steps"] == 4
        answer = service.post("/generate", least | {"accelerator": "quick-lmc"})
        assert answer.json()["fields"]["accelerator"] == ["No LoRA is called 'quick-lmc'; like it are: quick-lcm."]
    finally:
        quick.unlink()
        service.refresh()


def image_of(service: Service, body: Mapping[str, Any]) -> Image.Image:
    answer = service.post("/generate", {**body, "synchronous_request": True})
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


def png_of(image: Image.Image) -> bytes:
    """Its file, with the parameters that it carries."""
    texts, out = PngInfo(), io.BytesIO()
    texts.add_itxt("personal_diffusion", image.info["personal_diffusion"])
    image.save(out, "PNG", pnginfo=texts)
    return out.getvalue()
