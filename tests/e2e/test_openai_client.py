"""The real `openai` package against the real service: every call that it has for images."""

import base64
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import openai
import pytest
import requests
from PIL import Image

from demo_model.judge import colour_share
from shared.settings import DUMMY_API_KEY, Settings
from tests.e2e.dropping import dropping
from tests.e2e.service import REPOSITORY, Service
from tests.images import SAME, decibels

pytestmark = pytest.mark.programs
RED = "a red circle on a blue background"


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=DUMMY_API_KEY) as made:
        yield made


def opened(text: str | None) -> Image.Image:
    assert text
    return Image.open(io.BytesIO(base64.b64decode(text)))


def png_file(size: tuple[int, int] = (128, 128)) -> io.BytesIO:
    file = io.BytesIO()
    Image.new("RGB", size, "navy").save(file, "PNG")
    file.seek(0)
    file.name = "navy.png"
    return file


def test_an_image_is_that_of_native(service: Service, client: openai.OpenAI) -> None:
    """Given a prompt and a seed in both dialects, when drawn, then pixels, infotext and parameters are the same."""
    native = service.post("/generate", {"prompt": RED, "seed": 11, "ddim_steps": 10, "synchronous_request": True})
    answer = client.images.generate(prompt=RED, model="demo", extra_body={"seed": 11, "steps": 10})

    assert answer.data
    drawn, kept = opened(answer.data[0].b64_json), Image.open(io.BytesIO(native.content))
    assert decibels(drawn, kept) >= SAME
    assert drawn.info == kept.info, "infotext and parameters"
    assert (answer.size, answer.output_format, answer.quality, answer.usage) == ("128x128", "png", "low", None)
    assert answer._request_id, "SDKs show it, and it is the job's id"
    assert service.get(f"/status/{answer._request_id}?result=false").json()["Seeds"] == [11]


def test_several_images_of_a_size_and_a_format(client: openai.OpenAI) -> None:
    """Given n, a size beyond the model's, a format and its quality, when drawn, then all of it is as asked for."""
    answer = client.images.generate(
        prompt=RED, model="gpt-image-1", n=2, size="640x320", quality="low", background="opaque",
        output_format="webp", output_compression=60, moderation="low", user="me", extra_body={"seed": 5, "steps": 1},
    )  # fmt: skip
    assert answer.data
    assert [image.url for image in answer.data] == [None, None]
    for image in answer.data:
        with opened(image.b64_json) as drawn:
            assert (drawn.format, drawn.size) == ("WEBP", (640, 320))
    assert (answer.size, answer.output_format) == ("640x320", "webp")


def test_a_link_leads_to_the_image(client: openai.OpenAI) -> None:
    """Given response_format url, when drawn, then the link alone comes, and is fetched without a key."""
    answer = client.images.generate(
        prompt=RED, model="dall-e-3", response_format="url", extra_body={"steps": 2, "width": 64, "height": 64}
    )
    assert answer.data
    assert answer.data[0].b64_json is None
    assert answer.data[0].url
    fetched = requests.get(answer.data[0].url, timeout=60)
    assert Image.open(io.BytesIO(fetched.content)).size == (64, 64)


def test_an_edit_and_a_variation_start_from_a_file(client: openai.OpenAI) -> None:
    """Given a file, several, and a file without a prompt, when drawn, then the images have the size of the input."""
    few = {"steps": 4, "seed": 3}
    one = client.images.edit(image=png_file((96, 64)), prompt=RED, input_fidelity="high", n=1, extra_body=few)
    several = client.images.edit(image=[png_file(), png_file()], prompt=RED, extra_body=few)
    with pytest.deprecated_call():  # upstream has none any more
        variation = client.images.create_variation(image=png_file(), n=1, response_format="b64_json", extra_body=few)
    for answer, size in ((one, (96, 64)), (several, (128, 128)), (variation, (128, 128))):
        assert answer.data
        assert opened(answer.data[0].b64_json).size == size


@pytest.mark.parametrize(("partial_images", "steps"), [(0, 4), (2, 60)])
def test_a_stream_shows_what_becomes(client: openai.OpenAI, partial_images: int, steps: int) -> None:
    """Given stream, when drawn, then previews of the running job come, and at last the image itself."""
    with client.images.generate(
        prompt=RED,
        model="gpt-image-1",
        stream=True,
        partial_images=partial_images,
        extra_body={"steps": steps, "seed": 1},
    ) as stream:
        job_id = stream.response.headers["x-request-id"]
        events = list(stream)
    *partial, last = events
    assert last.type == "image_generation.completed"
    assert opened(last.b64_json).size == (128, 128)
    assert (last.size, last.output_format, last.background) == ("128x128", "png", "opaque")
    assert len(partial) <= partial_images
    assert bool(partial) == bool(partial_images)
    for index, event in enumerate(partial):
        assert event.type == "image_generation.partial_image"
        assert event.partial_image_index == index
        assert opened(event.b64_json).format == "JPEG"
    assert job_id


def test_an_edit_may_be_streamed(client: openai.OpenAI) -> None:
    """Given stream at an edit, when drawn, then the events have the names of edits."""
    with client.images.edit(image=png_file(), prompt=RED, stream=True, extra_body={"steps": 4}) as stream:
        assert [event.type for event in stream] == ["image_edit.completed"]


def test_a_cancelled_stream_ends_with_an_error(service: Service, client: openai.OpenAI) -> None:
    """Given a stream, when its job is cancelled by its id, then the client raises, and does not try again."""
    with client.images.generate(
        prompt=RED, stream=True, partial_images=3, extra_body={"steps": 999, "sampler": "k_heun", "n_samples": 8}
    ) as stream:
        service.post(f"/cancel/{stream.response.headers['x-task-id']}")
        with pytest.raises(openai.APIError) as caught:
            list(stream)
    assert caught.value.code == "cancelled"


@pytest.mark.parametrize("drops", [1, 2])
def test_a_lost_answer_is_fetched_by_the_retry(service: Service, drops: int) -> None:
    """Given connections that break before the answer, when the package tries again, then it is given the same job."""
    before = service.get("/recent").json()["Recent_finished_images"]
    with (
        dropping(service.url, drops) as relay,
        openai.OpenAI(base_url=f"{relay.url}/v1", api_key=DUMMY_API_KEY) as client,
    ):
        answer = client.images.generate(prompt=f"{RED}, lost {drops} times", extra_body={"steps": 3})
    assert relay.lost == drops
    now = service.get("/recent").json()["Recent_finished_images"]
    assert now[0] == f"/status/{answer._request_id}"
    assert now[1:] == before[: len(now) - 1], "one job, however often it was asked for"


def test_the_models_are_listed(client: openai.OpenAI) -> None:
    """Given the service, when models are listed and fetched, then the default one is there, and an unknown is not."""
    assert client.models.list().data[0].id == "demo"
    assert client.models.retrieve("demo").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nope")


@pytest.mark.parametrize(
    ("body", "param"),
    [({"size": "banana"}, "size"), ({"prompt": ""}, "prompt"), ({"n": 11}, "n"), ({"quality": "best"}, "quality"),
     ({"output_format": "gif"}, "output_format"), ({"background": "transparent"}, "background"),
     ({"extra_body": {"steps": 0}}, "steps"), ({"extra_body": {"promt": "x"}}, "promt")],
)  # fmt: skip
def test_a_bad_request_names_its_field(client: openai.OpenAI, body: dict[str, Any], param: str) -> None:
    """Given a value that cannot be used, when sent, then the package raises BadRequestError with the field's name."""
    whole = {"prompt": RED, **body}
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(**whole)
    assert (caught.value.param, caught.value.type) == (param, "invalid_request_error")
    assert param in str(caught.value)


def test_what_is_transparent_in_a_mask_is_drawn_anew(client: openai.OpenAI) -> None:
    """Given a mask whose right half is transparent, when an edit is asked for, then a red circle is there, and the left
    half is that of the image in every bit."""
    size, left, right = (128, 128), (0, 0, 64, 128), (64, 0, 128, 128)
    mask, file = Image.new("RGBA", size, "white"), io.BytesIO()
    mask.paste((0, 0, 0, 0), right)
    mask.save(file, "PNG")
    file.seek(0)
    file.name = "mask.png"
    seeds = range(4)
    edited = []
    for seed in seeds:
        answer = client.images.edit(
            image=png_file(size), mask=file, prompt="a red circle on the right on a blue background", size="auto",
            extra_body={"seed": seed},
        )  # fmt: skip
        assert answer.data
        edited.append(opened(answer.data[0].b64_json))
    navy = Image.open(png_file(size))
    assert all(each.crop(left).tobytes() == navy.crop(left).tobytes() for each in edited)
    assert sum(colour_share(each.crop(right), "red") > 0.03 for each in edited) >= len(seeds) - 1


def test_wrong_keys_and_unknown_models_are_told_apart(service: Service, client: openai.OpenAI) -> None:
    """Given a wrong key, and a model that is not here, when used, then the package raises the error for each."""
    with (
        openai.OpenAI(base_url=f"{service.url}/v1", api_key="wrong") as stranger,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        stranger.images.generate(prompt=RED)
    assert caught.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError) as missing:
        client.images.generate(prompt=RED, model="nope")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")


def test_a_full_service_says_when_to_come_back(service: Service) -> None:
    """Given an API process without a place to wait, when asked, then the package raises RateLimitError."""
    api = service.start_api(SYNC_WAITERS="0")
    try:
        with (
            openai.OpenAI(base_url=f"{api.url}/v1", api_key=DUMMY_API_KEY, max_retries=0) as client,
            pytest.raises(openai.RateLimitError) as caught,
        ):
            client.images.generate(prompt=RED)
        assert 0 < int(caught.value.response.headers["retry-after"]) <= 60
    finally:
        service.kill(api.child)


def test_the_lines_of_the_readme_draw_an_image(service: Service) -> None:
    """Given the README's lines for the package, when they are run, then they print a link to an image."""
    blocks = re.findall(r"^```python\n(.*?)^```", (REPOSITORY / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    (lines,) = [block for block in blocks if "import OpenAI" in block]
    assert len([line for line in lines.splitlines() if line]) == 4
    script = lines.replace(f"http://127.0.0.1:{Settings().port}", service.url)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with Image.open(io.BytesIO(requests.get(done.stdout.strip(), timeout=60).content)) as drawn:
        assert drawn.size == (256, 256)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_part_of_33_mib_is_refused(service: Service, chunked: bool) -> None:
    """Given a form with a part over the limit, with its length told or not, when posted, then 413 in OpenAI's shape."""
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    pieces = [head, *[b"A" * 65536] * (33 * 16), b"\r\n--x--\r\n"]
    answer = service.post(
        "/v1/images/edits",
        data=iter(pieces) if chunked else b"".join(pieces),
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"
