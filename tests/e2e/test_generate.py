"""Text to image, from the HTTP request to the image, against real processes."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from tests.e2e.service import REPOSITORY, Service
from tests.images import SAME, decibels, from_base64

SMALL: dict[str, Any] = {"prompt": "a red circle on a blue background", "H": 64, "W": 64, "ddim_steps": 2, "seed": 7}
MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "jpg": b"\xff\xd8\xff", "webp": b"RIFF"}
MIME = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}


def image_of(answer: requests.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text[:500]
    assert answer.headers["Content-Type"].startswith("image/"), answer.text[:500]
    return Image.open(io.BytesIO(answer.content)).convert("RGB")


def result_of(service: Service, **body: Any) -> dict[str, Any]:
    """The JSON result of a synchronous request."""
    answer = service.post("/generate", SMALL | body | {"return_base64": True, "synchronous_request": True})
    assert answer.status_code == 200, answer.text[:500]
    result: dict[str, Any] = answer.json()
    return result


def test_an_older_clients_body_works_as_it_is(service: Service) -> None:
    """Given a real request body of an older client, when it is posted unchanged, then 202 and at last its image."""
    body = json.loads((REPOSITORY / "tests/requests/generate.json").read_text())
    answer = service.post("/generate", body, key=None)
    assert answer.status_code == 202, answer.text
    accepted = answer.json()
    assert accepted["Location"] == answer.headers["Location"] == f"/status/{accepted['task_id']}"
    assert accepted["active_model"] == "demo"
    assert image_of(service.wait(accepted["task_id"], timeout=240)).size == (512, 512)


def test_options_the_worker_cannot_honour_are_told(service: Service) -> None:
    """Given options for a GPU, when a CPU worker does the job, then Parameters says what was used, with warnings.

    Some processors are fast in 16 bits: there the request for it is honoured, and nothing said.
    """
    parameters = result_of(service, device="cuda", precision="autocast", turbo=True, unet_bs=1)["Parameters"]
    assert parameters["device"] == "cpu"
    assert parameters["precision"] in {"full", "autocast"}
    assert parameters["unet_bs"] == 1
    assert any("cuda" in warning for warning in parameters["warnings"])
    warned = any("autocast" in warning for warning in parameters["warnings"])
    assert warned == (parameters["precision"] == "full")


def test_no_options_no_warning(service: Service) -> None:
    """Given a request without options, and with enough steps, when it is done, then nothing is warned of."""
    assert result_of(service, ddim_steps=20)["Parameters"]["warnings"] == []


@pytest.mark.parametrize("image_format", ["png", "jpg", "webp"])
def test_the_bytes_are_what_the_label_says(service: Service, image_format: str) -> None:
    """Given a format, when the image comes raw, as base64 and by link, then each has that format's bytes."""
    answer = service.post("/generate", SMALL | {"format": image_format, "synchronous_request": True})
    assert answer.headers["Content-Type"] == MIME[image_format]
    assert answer.content.startswith(MAGIC[image_format])

    result = result_of(service, format=image_format)
    assert result["Format"] == image_format
    assert base64.b64decode(result["Image"][0]).startswith(MAGIC[image_format])
    linked = service.get(result["Images"][0])
    assert linked.headers["Content-Type"] == MIME[image_format]
    assert linked.content == base64.b64decode(result["Image"][0])


def test_a_png_tells_how_it_was_made(service: Service) -> None:
    """Given a PNG result, when its text chunks are read, then infotext and JSON agree with the request."""
    answer = service.post("/generate", SMALL | {"negative_prompt": "green", "synchronous_request": True})
    image = Image.open(io.BytesIO(answer.content))
    infotext = image.info["parameters"]
    assert infotext.startswith(SMALL["prompt"])
    assert "Negative prompt: green" in infotext
    assert "Steps: 2, Sampler: DDIM, CFG scale: 7.5, Seed: 7, Size: 64x64" in infotext
    stored = json.loads(image.info["personal_diffusion"])
    assert (stored["prompt"], stored["seed"], stored["ckpt"]) == (SMALL["prompt"], 7, "demo")


def test_the_same_seed_gives_the_same_bytes(service: Service) -> None:
    """Given one request twice, when both are done, then the images are equal byte by byte; another seed differs."""
    first, again, other = (result_of(service, seed=seed)["Image"] for seed in (7, 7, 8))
    assert first == again
    assert first != other


@pytest.mark.parametrize("seed", [None, False])
def test_a_random_seed_is_told_and_reproduces_the_image(service: Service, seed: object) -> None:
    """Given no seed, when the reported one is used, then the same image comes out."""
    drawn = result_of(service, seed=seed)
    again = result_of(service, seed=drawn["Seeds"][0])
    assert drawn["Parameters"]["seed"] == drawn["Seeds"][0]
    assert drawn["Image"] == again["Image"]


@pytest.mark.parametrize(("tasks", "samples"), [(1, 4), (2, 2), (4, 1)])
def test_image_k_is_the_image_of_seed_plus_k(service: Service, tasks: int, samples: int) -> None:
    """Given four images however they are split into tasks, when done, then image k is the solo one of seed + k."""
    result = result_of(service, n_iter=tasks, n_samples=samples, sampler="k_euler_a")
    assert result["Seeds"] == [7, 8, 9, 10]
    assert len(set(result["Image"])) == 4
    for seed, text in zip(result["Seeds"], result["Image"], strict=True):
        alone = result_of(service, seed=seed, sampler="k_euler_a")["Image"][0]
        assert decibels(from_base64(text), from_base64(alone)) >= SAME


def test_fixed_code_starts_every_image_from_the_same_noise(service: Service) -> None:
    """Given fixed_code and a deterministic sampler, when 2 images are made, then they are the same."""
    result = result_of(service, n_samples=2, fixed_code=True)
    assert decibels(*map(from_base64, result["Image"])) >= SAME
    assert result["Seeds"] == [7, 8]


def test_a_receipt_remakes_its_image(service: Service) -> None:
    """Given images from the same noise with a stochastic sampler, when a receipt is sent back, then its is drawn."""
    result = result_of(service, n_samples=2, fixed_code=True, sampler="k_euler_a")
    assert result["Image"][0] != result["Image"][1]
    for text in result["Image"]:
        receipt = json.loads(from_base64(text).info["personal_diffusion"])
        again = result_of(service, **{name: receipt[name] for name in ("seed", "noise_seed", "sampler")})
        assert decibels(from_base64(text), from_base64(again["Image"][0])) >= SAME


def test_a_grid_holds_all_images(service: Service) -> None:
    """Given 3 images and 2 columns, when a grid is asked for, then it has 2x2 cells and is the raw result."""
    wanted = SMALL | {"n_samples": 3, "skip_grid": False, "n_rows": 2}
    result = result_of(service, **wanted)
    grid = Image.open(io.BytesIO(base64.b64decode(result["Grid"]))).convert("RGB")
    third = Image.open(io.BytesIO(base64.b64decode(result["Image"][2]))).convert("RGB")
    assert grid.size == (128, 128)
    assert grid.crop((0, 64, 64, 128)).tobytes() == third.tobytes()
    assert image_of(service.post("/generate", wanted | {"synchronous_request": True})).size == (128, 128)


def test_a_prompt_file_draws_each_line(service: Service) -> None:
    """Given a file with two prompts, when it is named in from-file, then each line gives its images."""
    (service.prompts_dir / "two.txt").write_text("a red circle\n\na blue square\n", encoding="utf-8")
    result = result_of(service, **{"from-file": "two.txt", "prompt": ""})
    assert len(result["Images"]) == 2
    assert result["Parameters"]["prompts"] == ["a red circle", "a blue square"]


def test_images_are_kept_under_outdir_or_expire(service: Service) -> None:
    """Given outdir, when skip_save is false, then the image lies there; with skip_save it does not."""
    kept = result_of(service, outdir="outputs/my images/today")
    name = kept["Images"][0].rpartition("/")[2]
    assert (service.output_dir / "my images" / "today" / kept["task_id"] / name).is_file()
    passing = result_of(service, outdir="passing", skip_save=True)
    assert not (service.output_dir / "passing").exists()
    assert service.get(passing["Images"][0]).status_code == 200


def test_scale_steps_negative_prompt_and_eta_change_the_image(service: Service) -> None:
    """Given one request, when a parameter of the drawing changes, then so does the image."""
    base = result_of(service)["Image"]
    for change in ({"scale": 1.0}, {"ddim_steps": 3}, {"negative_prompt": "blue"}, {"ddim_eta": 1.0}, {"scale": -2}):
        assert result_of(service, **change)["Image"] != base, change


def test_every_sampler_draws(service: Service) -> None:
    """Given the sampler table, when each name draws with one seed, then an image comes out under its own name."""
    names = [task["name"] for task in service.get("/samplers").json()["samplers"]]
    ids = {name: service.submit(**SMALL | {"sampler": name, "ddim_steps": 4, "return_base64": True}) for name in names}
    images = {}
    for name, task_id in ids.items():
        result = service.wait(task_id).json()
        assert result["State"] == "SUCCESS", (name, result["Status"])
        assert result["Parameters"]["sampler"] == name
        images[name] = result["Image"][0]
    assert len(images) == len(names)


def test_plms_may_be_asked_for_the_older_way(service: Service) -> None:
    """Given plms true, when it is done, then the sampler was plms and the image is plms's."""
    older = result_of(service, plms=True)
    assert older["Parameters"]["sampler"] == "plms"
    assert older["Image"] == result_of(service, sampler="plms")["Image"]


def test_sizes_that_are_no_squares(service: Service) -> None:
    """Given H and W that differ and are odd multiples of 8, when drawn, then the image has exactly that size."""
    result = result_of(service, H=72, W=104)
    assert result["Size"] == [104, 72]
    assert Image.open(io.BytesIO(base64.b64decode(result["Image"][0]))).size == (104, 72)


def test_the_templates_can_be_posted_as_they_are(service: Service) -> None:
    """Given the shipped templates, when each is posted unchanged, then it is accepted and done."""
    for kind in ("generate", "img2img"):
        body = json.loads(Path(REPOSITORY / f"api/templates/{kind}.json").read_text())
        answer = service.post(f"/{kind}", body, key=None)
        assert answer.status_code == 202, answer.text
        assert image_of(service.wait(answer.json()["task_id"], timeout=120)).width >= 64
