"""Image to image against real processes."""

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.e2e.service import REPOSITORY, Service


def encoded(colour: str, size: tuple[int, int] = (64, 64), spot: str | None = None) -> str:
    image = Image.new("RGB", size, colour)
    if spot:
        ImageDraw.Draw(image).ellipse((16, 16, 48, 48), fill=spot)
    out = io.BytesIO()
    image.save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def result_of(service: Service, **body: Any) -> dict[str, Any]:
    wanted = {
        "prompt": "a red circle", "init_img": encoded("blue"), "ddim_steps": 6, "seed": 3,
        "return_base64": True, "synchronous_request": True,
    }  # fmt: skip
    answer = service.post("/img2img", wanted | body)
    assert answer.status_code == 200, answer.text[:500]
    result: dict[str, Any] = answer.json()
    return result


def pixels(result: dict[str, Any]) -> np.ndarray:
    """The first image as an (H, W, 3) array."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(result["Image"][0]))).convert("RGB"), dtype=float)


def test_an_older_clients_body_works_with_a_model_name(service: Service) -> None:
    """Given the older body, when ckpt is its alias table, then 400 names the choices; with a name, it is done."""
    body = json.loads((REPOSITORY / "tests/requests/img2img.json").read_text())
    refused = service.post("/img2img", body, key=None)
    assert refused.status_code == 400
    assert list(refused.json()["fields"]) == ["ckpt"]
    assert "sd15" in refused.json()["fields"]["ckpt"][0]

    small = body | {"ckpt": "default", "H": 128, "W": 128, "return_base64": True}
    answer = service.post("/img2img", small, key=None)
    assert answer.status_code == 202, answer.text
    result = service.wait(answer.json()["task_id"], timeout=240).json()
    assert result["State"] == "SUCCESS"
    assert result["Seeds"] == [42, 43]
    assert result["Size"] == [128, 128]


def test_the_result_depends_on_the_input(service: Service) -> None:
    """Given two inputs, when all else is equal, then the results differ."""
    assert result_of(service)["Image"] != result_of(service, init_img=encoded("yellow"))["Image"]


def test_strength_decides_how_far_the_result_leaves_the_input(service: Service) -> None:
    """Given a blue input with a white spot, when the strength grows, then the result is farther from the input."""
    source = encoded("blue", spot="white")
    original = np.asarray(Image.open(io.BytesIO(base64.b64decode(source))).convert("RGB"), dtype=float)
    distances = [
        float(np.abs(pixels(result_of(service, init_img=source, denoising_strength=strength)) - original).mean())
        for strength in (0.2, 1.0)
    ]
    assert distances[0] < distances[1]


def test_the_noise_multiplier_changes_the_result(service: Service) -> None:
    """Given a noise multiplier, when it differs from 1, then so does the image."""
    assert result_of(service, noise_multiplier=0.5)["Image"] != result_of(service)["Image"]


def test_without_a_size_the_result_has_the_inputs_shape(service: Service) -> None:
    """Given an input of 100 x 70, when no size is asked for, then the result has it, to the nearest multiples of 8."""
    assert result_of(service, init_img=encoded("blue", (100, 70)))["Size"] == [104, 72]


@pytest.mark.parametrize(("field", "size"), [("upscale", [128, 128]), ("post_upscale", [128, 128])])
def test_upscale_before_or_after_doubles_the_size(service: Service, field: str, size: list[int]) -> None:
    """Given upscale or post_upscale, when no size is asked for, then a 64 pixel input gives 128 pixels."""
    result = result_of(service, **{field: True})
    assert result["Size"] == size
    assert pixels(result).shape == (128, 128, 3)


@pytest.mark.parametrize("sampler", ["ddim", "plms", "k_euler_a", "k_heun", "k_dpm_2", "k_dpmpp_2m_ka", "k_dpm_ad"])
def test_samplers_of_every_kind_start_in_the_middle(service: Service, sampler: str) -> None:
    """Given a sampler, when it starts from a noised input and no prompt pulls away, then the input's colour stays."""
    mean = pixels(result_of(service, prompt="", sampler=sampler, denoising_strength=0.35)).mean(axis=(0, 1))
    assert mean[2] > mean[0] + 40, "the blue input must still be blue"


def test_the_input_is_cleared_away_from_the_queue(service: Service) -> None:
    """Given an img2img job, when it is done, then its bytes are in the result store, not in Redis."""
    import redis

    source = encoded("blue", spot="white")
    result_of(service, init_img=source)
    client: Any = redis.Redis.from_url(service.redis_url)
    hashes = [client.hgetall(key) for key in client.scan_iter(f"{service.key_prefix}job:*")]
    assert hashes
    assert all(source.encode() not in value for record in hashes for value in record.values())
    client.close()
