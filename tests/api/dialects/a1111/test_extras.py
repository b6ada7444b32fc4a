"""Images that are resized, and images that are read."""

import base64
import io
from dataclasses import replace

import pytest
from PIL import Image

from shared.catalogue.kinds import UPSCALER
from shared.catalogue.models import OtherFile
from tests.api.conftest import encoded_image
from tests.api.dialects.a1111.conftest import BASIC
from worker.images.encode import encode

ONE, MANY, READ = "/sdapi/v1/extra-single-image", "/sdapi/v1/extra-batch-images", "/sdapi/v1/png-info"
# as clients send it that fill in everything
ALL = {
    "resize_mode": 0, "show_extras_results": True, "gfpgan_visibility": 0, "codeformer_visibility": 0,
    "codeformer_weight": 0, "upscaling_resize": 2, "upscaling_resize_w": 512, "upscaling_resize_h": 512,
    "upscaling_crop": True, "upscaler_1": "None", "upscaler_2": "None", "extras_upscaler_2_visibility": 0,
    "upscale_first": False,
}  # fmt: skip


def sent(size=(40, 20), **how):
    return base64.b64encode(encoded_image("png", size=size, **how)).decode()


def size_of(text):
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        assert image.format == "PNG"
        return image.size


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({}, (40, 20)), ({"upscaler_1": "Lanczos"}, (80, 40)), ({"upscaler_1": "nearest"}, (80, 40)),
        ({"upscaler_1": "Lanczos", "upscaling_resize": 1.5}, (60, 30)),
        ({"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 60, "upscaling_resize_h": 60}, (60, 60)),
        ({"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 60, "upscaling_resize_h": 60,
          "upscaling_crop": False}, (120, 60)),
        ({"upscaler_1": "Lanczos", "resize_mode": 1}, (512, 512)),
    ],
)  # fmt: skip
def test_an_image_is_resized_as_asked(web_ui, asked, size):
    """Given a way, a factor or a size, when an image is sent, then 200 with an image of that size."""
    answer = web_ui.post(ONE, json=ALL | {"image": f"data:image/png;base64,{sent()}"} | asked, headers=BASIC)
    assert answer.status_code == 200, answer.text
    assert set(answer.json) == {"image", "html_info"}
    assert size_of(answer.json["image"]) == size


def test_images_are_resized_together(web_ui):
    """Given several images, when sent at once, then all come back resized, in their order."""
    images = [{"data": sent((8 * number, 8)), "name": f"{number}.png"} for number in (1, 2, 3)]
    answer = web_ui.post(MANY, json=ALL | {"imageList": images, "upscaler_1": "Nearest"}, headers=BASIC)
    assert answer.status_code == 200, answer.text
    assert set(answer.json) == {"images", "html_info"}
    assert [size_of(image) for image in answer.json["images"]] == [(16, 16), (32, 16), (48, 16)]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"upscaler_1": "R-ESRGAN 4x+"}, "upscaler_1"), ({"upscaler_1": 5}, "upscaler_1"),
        ({"gfpgan_visibility": 0.5}, "gfpgan_visibility"), ({"codeformer_visibility": 1}, "codeformer_visibility"),
        ({"upscaler_1": "Lanczos", "upscaler_2": "Nearest", "extras_upscaler_2_visibility": 0.5}, "upscaler_2"),
        ({"upscaler_1": "Lanczos", "upscaling_resize": 0}, "upscaling_resize"),
        ({"upscaler_1": "Lanczos", "upscaling_resize": 1000}, "image"),
        ({"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": "x"}, "upscaling_resize_w"),
        ({"resize_mode": 2, "upscaler_1": "Lanczos"}, "resize_mode"), ({"image": ""}, "image"),
        ({"image": "%%"}, "image"), ({"image": "aGVsbG8="}, "image"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_by_name(web_ui, assert_refused, asked, field):
    """Given what is not here, or no image, when sent, then 422 names it."""
    assert_refused(web_ui.post(ONE, json=ALL | {"image": sent()} | asked, headers=BASIC), 422, field)


@pytest.mark.parametrize("images", [None, [], ["x"], [{"data": sent()}] * 9, [{"data": "aGVsbG8="}]])
def test_lists_of_images_are_bounded(web_ui, assert_refused, images):
    """Given no list, one that is too long, or one with what is no image, when sent, then 422 names it."""
    assert_refused(web_ui.post(MANY, json=ALL | {"imageList": images}, headers=BASIC), 422, "imageList")


def test_all_results_together_are_bounded(world, assert_refused):
    """Given images that become too large together, when sent, then the first one that is too much is named."""
    client = world.another_client(max_input_pixels=10_000)
    body = ALL | {"imageList": [{"data": sent()}] * 3, "upscaler_1": "Lanczos", "upscaling_resize": 2}
    assert client.post(MANY, json=body, headers=BASIC).status_code == 200
    answer = client.post(MANY, json=body | {"upscaling_resize": 3}, headers=BASIC)
    assert_refused(answer, 422, "imageList.1.data")


def test_an_infotext_is_read_and_kept(web_ui):
    """Given an image of ours, when read, then its infotext and values are told, also after it was resized."""
    parameters = {"prompt": "a cat", "negative_prompt": "a dog", "ddim_steps": 20, "sampler": "k_euler", "seed": 4}
    image = base64.b64encode(encode(Image.new("RGB", (16, 16)), "png", parameters)).decode()
    resized = web_ui.post(ONE, json=ALL | {"image": image, "upscaler_1": "Lanczos"}, headers=BASIC).json["image"]
    for each in (image, f"data:image/png;base64,{image}", resized):
        told = web_ui.post(READ, json={"image": each}, headers=BASIC).json
        assert set(told) == {"info", "items", "parameters"}
        assert told["info"] == "a cat\nNegative prompt: a dog\nSteps: 20, Sampler: Euler, Seed: 4"
        assert told["parameters"].items() >= {"Prompt": "a cat", "Negative prompt": "a dog", "Seed": "4"}.items()


def test_an_image_without_infotext_has_an_empty_one(web_ui):
    """Given an image that carries nothing, when read, then info is empty, and 200."""
    answer = web_ui.post(READ, json={"image": sent()}, headers=BASIC)
    assert (answer.status_code, answer.json) == (200, {"info": "", "items": {}, "parameters": {}})


@pytest.mark.parametrize("body", [{}, {"image": None}, {"image": "x x"}, {"image": "aGVsbG8="}, {"image": 5}])
def test_what_is_no_image_cannot_be_read(web_ui, assert_refused, body):
    """Given no image, when read, then 422 names it."""
    assert_refused(web_ui.post(READ, json=body, headers=BASIC), 422, "image")


def test_resizing_counts_against_the_rate(world, assert_refused):
    """Given a rate limit, when images are resized more often, then 429."""
    client = world.another_client(rate_limit="1 per hour")
    client.post(ONE, json=ALL | {"image": sent()}, headers=BASIC)
    assert_refused(client.post(ONE, json=ALL | {"image": sent()}, headers=BASIC), 429)


@pytest.fixture
def network(world):
    """A network among the models of the API that `web_ui` asks, and a function that sets why it cannot be used."""
    catalogue = world.services.catalogue
    contents = catalogue.contents()
    file = OtherFile("4x-any", UPSCALER, "", "MODELS_DIR/ESRGAN/4x-any.pth", 5, "enlarges images and draws none")

    def have(client, unusable=""):
        theirs = client.application.extensions["services"].catalogue
        theirs.replace(replace(contents, others=(replace(file, unusable=unusable),)))

    return have


def test_a_network_enlarges_by_jobs(world, network):
    """Given a network, when one image and two are sent, then each was a job, and the answers have all images; it is
    listed as an upscaler."""
    world.play_worker(world.work)
    client = world.another_client(sync_timeout_s=20.0)
    network(client)
    assert client.get("/sdapi/v1/upscalers", headers=BASIC).json[-1]["name"] == "4x-any"
    how = ALL | {"upscaler_1": "4x-any"}
    answer = client.post(ONE, json=how | {"image": sent()}, headers=BASIC)
    assert answer.status_code == 200, answer.text
    assert size_of(answer.json["image"]) == (64, 64)  # what the worker of these tests draws
    listed = [{"data": sent(), "name": "a"}, {"data": sent(), "name": "b"}]
    assert len(client.post(MANY, json=how | {"imageList": listed}, headers=BASIC).json["images"]) == 2
    requests = [world.services.jobs.get(key.rpartition(":")[2]).request for key in world.job_keys()]
    assert {(request.kind, request.upscaler, request.result_size) for request in requests} == {
        ("upscale", "4x-any", (80, 40))
    }


@pytest.mark.parametrize(
    ("asked", "factor", "size"),
    [
        ({"upscaling_resize_w": 80, "upscaling_resize_h": 80}, 4, (80, 80)),
        ({"upscaling_resize_w": 80, "upscaling_resize_h": 80, "upscaling_crop": False}, 4, (80, 80)),
        ({"upscaling_resize_w": 30, "upscaling_resize_h": 20}, 1, (30, 20)),
    ],
)
def test_a_network_enlarges_to_a_size(world, network, asked, factor, size):
    """Given a network and a size, when an image is sent, then a job makes it cover that, and it comes in that size."""
    world.play_worker(world.work)
    client = world.another_client(sync_timeout_s=20.0)
    network(client)
    answer = client.post(
        ONE, json=ALL | {"upscaler_1": "4x-any", "image": sent(), "resize_mode": 1} | asked, headers=BASIC
    )
    assert answer.status_code == 200, answer.text
    assert size_of(answer.json["image"]) == size
    (key,) = world.job_keys()
    assert world.services.jobs.get(key.rpartition(":")[2]).request.factor == factor


def test_what_a_network_cannot_do_is_refused(world, network, assert_refused):
    """Given a network, when it is to fit a size that is too large, gets no image, or cannot be used, then A1111's error
    names why."""
    client = world.another_client(sync_timeout_s=20.0)
    network(client)
    how = ALL | {"upscaler_1": "4x-any"}
    for side in (512, 20_000):
        size = {"resize_mode": 1, "upscaling_resize_w": side, "upscaling_resize_h": side}
        refused = client.post(ONE, json=how | size | {"image": sent()}, headers=BASIC)
        assert_refused(refused, 422, "upscaling_resize_w")
    odd = client.post(ONE, json=how | {"resize_mode": 2, "image": sent()}, headers=BASIC)
    assert_refused(odd, 422, "resize_mode")
    assert_refused(client.post(ONE, json=how | {"image": "!"}, headers=BASIC), 422, "image")
    many = how | {"imageList": [{"data": sent()}, {"data": 5}]}
    assert_refused(client.post(MANY, json=many, headers=BASIC), 422, "imageList.1.data")
    network(client, "needs the package spandrel")
    assert "spandrel" in assert_refused(client.post(ONE, json=how | {"image": sent()}, headers=BASIC), 422)["detail"]
    assert world.tasks_waiting() == 0
