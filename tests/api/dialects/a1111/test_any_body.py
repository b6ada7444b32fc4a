"""Bodies drawn by chance, from fixed seeds: whatever comes, A1111's API answers it, and never by a 5xx."""

import base64
import json
import random

import pytest

from tests.api.conftest import encoded_image
from tests.api.dialects.a1111.conftest import BASIC
from tests.api.test_fuzz import NASTY

BODIES_A_SEED = 60
SENT = {"prompt": "a cat", "width": 64, "height": 64, "steps": 1}
IMAGE = base64.b64encode(encoded_image("png", size=(16, 16))).decode()
DRAWING = (
    "prompt", "negative_prompt", "styles", "seed", "subseed", "subseed_strength", "seed_resize_from_h", "sampler_name",
    "sampler_index", "scheduler", "batch_size", "n_iter", "steps", "cfg_scale", "width", "height", "restore_faces",
    "tiling", "do_not_save_samples", "eta", "denoising_strength", "s_churn", "s_noise", "override_settings",
    "enable_hr", "init_images", "mask", "resize_mode", "initial_noise_multiplier", "script_name", "alwayson_scripts",
    "send_images", "save_images", "force_task_id", "infotext", "checkpoint", "callback_url", "auth",
    "refiner_checkpoint",
)  # fmt: skip
EXTRAS = (
    "image", "imageList", "resize_mode", "upscaling_resize", "upscaling_resize_w", "upscaling_resize_h",
    "upscaling_crop", "upscaler_1", "upscaler_2", "extras_upscaler_2_visibility", "gfpgan_visibility",
)  # fmt: skip
NESTED = (
    ("override_settings", ("sd_model_checkpoint", "samples_format", "sd_vae", "CLIP_stop_at_last_layers", "\ud800")),
    ("alwayson_scripts", ("ControlNet", "\ud800")),
)
PATHS = {
    "/sdapi/v1/txt2img": DRAWING,
    "/sdapi/v1/img2img": DRAWING,
    "/agent-scheduler/v1/queue/txt2img": DRAWING,
    "/sdapi/v1/options": ("sd_model_checkpoint", "samples_format", "sd_vae", "CLIP_stop_at_last_layers"),
    "/sdapi/v1/extra-single-image": EXTRAS,
    "/sdapi/v1/extra-batch-images": EXTRAS,
    "/sdapi/v1/png-info": ("image",),
}


def draw_body(chance, names):
    body = dict(SENT) | {"image": IMAGE, "imageList": [{"data": IMAGE}], "init_images": [IMAGE]}
    for _ in range(chance.choice([0, 1, 1, 1, 2, 3, 8])):
        body[chance.choice(names)] = chance.choice(NASTY)
    for name, inner in NESTED:
        if name in names and chance.random() < 0.2:
            body[name] = {chance.choice(inner): chance.choice(NASTY)}
    return body


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("seed", range(2))
def test_no_body_ever_gives_a_5xx(world, web_ui, path, seed):
    """Given any JSON object, when posted, then 200, or a 4xx in A1111's shape and no job."""
    chance = random.Random(f"{seed} {path}")
    for _ in range(BODIES_A_SEED):
        body = draw_body(chance, PATHS[path])

        answer = web_ui.post(path, data=json.dumps(body), content_type="application/json", headers=BASIC)

        assert answer.status_code in (200, 400, 404, 409, 422), (answer.status_code, answer.text[:500], body)
        if answer.status_code != 200:
            assert set(answer.json) == {"error", "detail", "body", "errors"}
            assert "Traceback" not in answer.text


@pytest.mark.parametrize("field", ["limit", "offset", "skip_current_image"])
def test_no_query_ever_gives_a_5xx(web_ui, field):
    """Given any text behind the `?`, when asked, then 200."""
    for value in NASTY:
        text = str(value).encode("utf-8", "replace").decode()[:2000]
        for path in ("/sdapi/v1/progress", "/agent-scheduler/v1/queue", "/agent-scheduler/v1/history"):
            assert web_ui.get(path, query_string={field: text}, headers=BASIC).status_code == 200
