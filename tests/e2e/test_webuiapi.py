"""The real `webuiapi` package against the real service: every call that it has of A1111's own API."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import webuiapi
from PIL import Image

from demo_model.judge import background_colour, colour_share, look
from demo_model.outlines import outline_image
from demo_model.world import Scene, Thing
from shared.settings import DUMMY_API_KEY
from tests.e2e.service import Api, Service
from tests.images import SAME, decibels

pytestmark = pytest.mark.programs
RED = "a red circle on a blue background"
SMALL: dict[str, Any] = {"prompt": RED, "width": 128, "height": 128, "steps": 12, "sampler_name": "DDIM", "eta": 0}
LONG: dict[str, Any] = SMALL | {"width": 256, "height": 256, "steps": 400}


def client_of(url: str, key: str) -> webuiapi.WebUIApi:
    host, _, port = url.removeprefix("http://").partition(":")
    return webuiapi.WebUIApi(host=host, port=int(port), username="anyone", password=key)


@pytest.fixture(scope="module")
def api(service: Service) -> Iterator[webuiapi.WebUIApi]:
    client = client_of(service.url, DUMMY_API_KEY)
    yield client
    client.session.close()


@pytest.fixture(scope="module")
def two_keys(service: Service) -> Iterator[Api]:
    """One more API process of the same service, which knows two keys and lets each have one job at a time."""
    api = service.start_api(API_KEYS="ann,bob", MAX_JOBS_PER_KEY="1")
    yield api
    service.stop(api.child)


@pytest.fixture(scope="module")
def circle(api: webuiapi.WebUIApi) -> webuiapi.WebUIApiResult:
    """Two images of one prompt."""
    return api.txt2img(**SMALL, seed=11, batch_size=2)


def test_images_show_what_was_asked_for(circle: webuiapi.WebUIApiResult) -> None:
    """Given a prompt, a size and a seed, when drawn, then two images of it, with their seeds and their infotexts."""
    assert [image.size for image in circle.images] == [(128, 128)] * 2
    assert (circle.info["all_seeds"], circle.info["sampler_name"]) == ([11, 12], "DDIM")
    assert [image.info["parameters"] for image in circle.images] == circle.info["infotexts"]
    assert circle.parameters["steps"] == 12
    seen = [look(image)[0] for image in circle.images]
    assert ("red", "circle") in [(sight.colour, sight.shape) for sight in seen]
    assert "blue" in [background_colour(image) for image in circle.images]


def test_an_image_is_that_of_native(service: Service, circle: webuiapi.WebUIApiResult) -> None:
    """Given the same parameters and seed in both dialects, when drawn, then pixels, infotext and parameters agree."""
    body = {"prompt": RED, "W": 128, "H": 128, "ddim_steps": 12, "scale": 7.0, "sampler": "ddim", "seed": 11}
    native = service.post("/generate", body | {"synchronous_request": True, "n_samples": 2, "return_base64": True})
    first = Image.open(service_image(service, native.json()["Images"][0]))
    assert decibels(first, circle.image) >= SAME
    assert first.info == circle.image.info, "infotext and parameters"


def service_image(service: Service, link: str) -> Any:
    """The bytes behind a link, as a file."""
    answer = service.get(link, stream=True)
    assert answer.status_code == 200
    answer.raw.decode_content = True
    return answer.raw


def test_an_image_is_redrawn(api: webuiapi.WebUIApi, circle: webuiapi.WebUIApiResult) -> None:
    """Given an image, when redrawn a little and much, then the first is nearer to it, and both have the size."""
    body = SMALL | {"images": [circle.image], "prompt": "a green circle on a blue background", "seed": 3}
    little, much = (api.img2img(**body, denoising_strength=strength) for strength in (0.05, 1.0))
    assert little.image.size == much.image.size == (128, 128)
    assert decibels(circle.image, little.image) > decibels(circle.image, much.image)
    assert (little.info["denoising_strength"], little.info["seed"]) == (0.05, 3)
    zero = api.img2img(**body, denoising_strength=0)
    assert decibels(circle.image, zero.image) > decibels(circle.image, much.image)


def test_a_size_that_the_model_cannot_draw_is_made_all_the_same(api: webuiapi.WebUIApi) -> None:
    """Given 640x320, when drawn, then the image has that size, and the answer says how it came about."""
    result = api.txt2img(**SMALL | {"width": 640, "height": 320, "steps": 1}, seed=1)
    assert result.image.size == (640, 320)
    assert any("resized to 640x320" in warning for warning in result.info["warnings"])


@pytest.mark.full
def test_an_image_is_drawn_large_in_two_passes(api: webuiapi.WebUIApi) -> None:
    """Given enable_hr, when drawn, then four images of the larger size show the one thing that was asked for."""
    result = api.txt2img(
        **SMALL | {"steps": 20, "batch_size": 4}, seed=11, enable_hr=True, hr_scale=3,
        hr_upscaler=webuiapi.HiResUpscaler.Lanczos, hr_second_pass_steps=4, denoising_strength=0.2,
    )  # fmt: skip
    assert {image.size for image in result.images} == {(384, 384)}
    # a shade of the background beside the edge is no second thing
    seen = [[(each.colour, each.shape) for each in look(image) if each.colour != "blue"] for image in result.images]
    assert sum(things == [("red", "circle")] for things in seen) >= 3
    assert result.info["extra_generation_params"] == {"Hires steps": 4, "Hires upscaler": "Lanczos"}
    assert "Size: 128x128" in result.info["infotexts"][0]
    assert "Hires upscale: 3, Hires steps: 4, Hires upscaler: Lanczos" in result.info["infotexts"][0]


def test_images_are_enlarged_and_read(api: webuiapi.WebUIApi, circle: webuiapi.WebUIApiResult) -> None:
    """Given images, when enlarged, one or several, then each is larger; its infotext can be read."""
    one = api.extra_single_image(circle.image, upscaler_1=webuiapi.Upscaler.Lanczos, upscaling_resize=2)
    many = api.extra_batch_images(circle.images, upscaler_1=webuiapi.Upscaler.Nearest, upscaling_resize=1.5)
    assert one.image.size == (256, 256)
    assert [image.size for image in many.images] == [(192, 192)] * 2
    assert one.info
    assert api.png_info(circle.image).info == circle.info["infotexts"][0]
    assert api.png_info(one.image).info == circle.info["infotexts"][0]


def test_an_outline_is_followed(api: webuiapi.WebUIApi) -> None:
    """Given the outline of a triangle as a ControlNet's image, when a red shape is asked for, then most of four images
    show a red triangle; the ControlNet and the preprocessors are listed, and one can be tried."""
    outline = outline_image(
        Scene(None, None, (Thing("triangle", "red", "large", "centre", 0.5, 0.5, 0.3, 0.0),), seed=1)
    )
    unit = webuiapi.ControlNetUnit(image=outline, model="demo-outline")
    result = api.txt2img(
        **SMALL | {"prompt": "a red shape", "batch_size": 4}, seed=5, controlnet_units=[unit], alwayson_scripts={}
    )
    seen = [[(sight.colour, sight.shape) for sight in look(image)] for image in result.images]
    assert seen.count([("red", "triangle")]) >= 3, seen
    assert "demo-outline" in {name.partition(" [")[0] for name in api.controlnet_model_list()}
    assert "canny" in api.controlnet_module_list()
    edges = api.controlnet_detect([result.image], module="canny", processor_res=128)
    assert edges.image.size == (128, 128)


@pytest.mark.parametrize(
    "name",
    ["get_cmd_flags", "get_samplers", "get_schedulers", "get_sd_vae", "get_upscalers", "get_latent_upscale_modes",
     "get_loras", "get_sd_models", "get_hypernetworks", "get_face_restorers", "get_realesrgan_models",
     "get_prompt_styles", "get_scripts", "get_embeddings", "get_memory", "get_options", "get_progress",
     "refresh_checkpoints", "interrupt", "skip"],
)  # fmt: skip
def test_everything_else_that_it_can_ask_is_answered(api: webuiapi.WebUIApi, name: str) -> None:
    """Given a call without arguments, when made, then it gets JSON that is no error."""
    answer = getattr(api, name)()
    assert not (isinstance(answer, dict) and "error" in answer)


def test_it_finds_no_extension_that_is_not_here(api: webuiapi.WebUIApi) -> None:
    """Given its search for extensions, when it starts, then it has found none."""
    assert (api.has_controlnet, api.has_adetailer, api.has_animatediff) == (False, False, False)


def test_it_chooses_a_model_by_names_that_it_lists(api: webuiapi.WebUIApi) -> None:
    """Given the names that it lists, when it sets one, then that one is current, and it waits for nothing."""
    names = api.util_get_model_names()
    assert "DPM++ 2M" in api.util_get_sampler_names()
    assert "karras" in api.util_get_scheduler_names()
    api.util_set_model("Demo")
    assert api.util_get_current_model() in names
    api.util_wait_for_ready(check_interval=0.1)


@pytest.mark.parametrize(
    ("asked", "status", "named"),
    [
        ({"override_settings": {"sd_model_checkpoint": "nothing"}}, 422, "sd_model_checkpoint"),
        ({"width": 0}, 422, "width"), ({"prompt": None}, 422, "prompt"),
        ({"enable_hr": True, "hr_prompt": "a blue square"}, 422, "hr_prompt"),
        ({"sampler_name": "Restart"}, 404, "Sampler not found"), ({"scheduler": "exponential"}, 422, "scheduler"),
        ({"controlnet_units": [webuiapi.ControlNetUnit(model="canny")]}, 422, "ControlNet"),
        ({"adetailer": [webuiapi.ADetailer()]}, 422, "ADetailer"),
    ],
)  # fmt: skip
def test_its_mistakes_are_told(api: webuiapi.WebUIApi, asked: dict[str, Any], status: int, named: str) -> None:
    """Given what cannot be done, when asked for, then it raises with the status and a sentence that names it."""
    with pytest.raises(RuntimeError) as caught:
        # its default is one object for all calls, and it writes into it
        api.txt2img(**SMALL | {"alwayson_scripts": {}} | asked)
    assert caught.value.args[0] == status
    assert named in json.loads(caught.value.args[1])["detail"]


@pytest.mark.parametrize("alone", [False, True])
def test_a_masked_half_is_drawn_anew(api: webuiapi.WebUIApi, alone: bool) -> None:
    """Given a mask of the right half, when it is redrawn, by itself or with the rest, then a red circle is there, and
    the left half is that of the image in every bit."""
    image, mask = Image.new("RGB", (128, 128), "navy"), Image.new("L", (128, 128), 0)
    left, right = (0, 0, 64, 128), (64, 0, 128, 128)
    mask.paste(255, right)
    made = api.img2img(
        images=[image], mask_image=mask, inpaint_full_res=alone, inpainting_fill=1, denoising_strength=1, seed=3,
        batch_size=4, **SMALL | {"alwayson_scripts": {}},
    ).images  # fmt: skip
    assert all(each.crop(left).tobytes() == image.crop(left).tobytes() for each in made)
    assert sum(colour_share(each.crop(right), "red") > 0.03 for each in made) >= 3


def test_a_wrong_key_is_told(service: Service) -> None:
    """Given a wrong password, when drawn, then it raises with 401."""
    client = client_of(service.url, "wrong")
    with pytest.raises(RuntimeError) as caught:
        client.txt2img(**SMALL)
    client.session.close()
    assert caught.value.args[0] == 401


def test_keys_see_and_stop_their_own_jobs_only(service: Service, two_keys: Api) -> None:
    """Given a long job of one key, then it alone sees its progress, cannot have a second one, and can stop it.

    What waits is answered at once; the other key is idle all the time, and its interruption stops nothing.
    """
    ann, bob = client_of(two_keys.url, "ann"), client_of(two_keys.url, "bob")
    failures: list[RuntimeError] = []

    def draw() -> None:
        try:
            client_of(two_keys.url, "ann").txt2img(**LONG)
        except RuntimeError as failure:
            failures.append(failure)

    waiting = threading.Thread(target=draw)
    waiting.start()
    end = time.monotonic() + 60
    while (told := ann.get_progress())["progress"] == 0 and time.monotonic() < end:
        time.sleep(0.05)
    assert 0 < told["progress"] < 1
    assert (told["state"]["job_count"], told["state"]["sampling_steps"]) == (1, 400)
    bob.util_wait_for_ready(check_interval=0.1)
    bob.interrupt()
    with pytest.raises(RuntimeError) as second:
        ann.txt2img(**SMALL)
    assert second.value.args[0] == 429
    assert ann.get_progress()["state"]["job_count"] == 1

    assert ann.interrupt() == {}
    waiting.join(20)
    assert [failure.args[0] for failure in failures] == [422]
    assert ann.get_progress()["state"]["job"] == ""
    for client in (ann, bob):
        client.session.close()
