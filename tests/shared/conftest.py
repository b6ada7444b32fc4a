"""What the tests of `shared/` stand on: small limits, valid requests, a Redis in memory and a clock that obeys."""

import base64
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from PIL import Image

from shared.catalogue.entries import load_catalogue
from shared.jobs.records import Claim, Progress
from shared.jobs.store import JobStore
from shared.request.input_image import InputImage
from shared.request.intake import load_request
from shared.request.limits import Limits
from shared.request.model import INIT_IMAGE, ImageRequest
from shared.request.schemas import GenerateSchema, Img2ImgSchema
from tests.conftest import Clock

REAL_BODIES = Path(__file__).parents[1] / "requests"


def tell(jobs: JobStore, claim: Claim, step: int, steps: int) -> None:
    """Report that a task is at `step` of `steps`; raises what its record says against going on."""
    for objection in jobs.progress.report({claim: Progress(step, steps)}).values():
        raise objection


@pytest.fixture
def limits(tmp_path: Path) -> Limits:
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    return Limits(
        catalogue=load_catalogue("demo"),
        prompts_dir=prompts,
        max_input_pixels=1_000_000,
        max_prompt_chars=1000,
        max_images=16,
        max_cost=100_000_000,
    )


@pytest.fixture
def image_text() -> str:
    """A valid `init_img`: a red image of 96x64 pixels."""
    out = io.BytesIO()
    Image.new("RGB", (96, 64), "red").save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


@pytest.fixture
def generate(limits: Limits) -> Callable[..., ImageRequest]:
    """Load a /generate body, given over a valid minimum."""

    def load(body: Mapping[str, Any] | None = None, **fields: Any) -> ImageRequest:
        return load_request(GenerateSchema(limits), {"prompt": "a cat"} | dict(body or {}) | fields)[0]

    return load


@pytest.fixture
def img2img(limits: Limits, image_text: str) -> Callable[..., tuple[ImageRequest, InputImage]]:
    """Load an /img2img body, given over a valid minimum."""

    def load(body: Mapping[str, Any] | None = None, **fields: Any) -> tuple[ImageRequest, InputImage]:
        full = {"prompt": "a cat", "init_img": image_text} | dict(body or {}) | fields
        request, images = load_request(Img2ImgSchema(limits), full)
        return request, images[INIT_IMAGE]

    return load


@pytest.fixture
def real_body() -> Callable[[str], dict[str, Any]]:
    """A body as a real client sends it: `generate` or `img2img`."""
    return lambda name: json.loads((REAL_BODIES / f"{name}.json").read_text())


@pytest.fixture
def redis_client() -> fakeredis.FakeRedis:
    return fakeredis.FakeRedis(decode_responses=True)


@pytest.fixture
def jobs(redis_client: fakeredis.FakeRedis, clock: Clock) -> JobStore:
    return JobStore(
        redis_client, result_ttl_s=100, tombstone_ttl_s=1000, deadline_s=60, max_attempts=3, clock=clock
    )  # fmt: skip
