"""What programs that speak A1111's API really send, written down from their own source; the images in it are ours."""

import base64
from dataclasses import dataclass, field
from typing import Any

from tests.api.conftest import encoded_image

API = "/sdapi/v1"
PROMPT = "a red circle on a blue background"
IMAGE = base64.b64encode(encoded_image("png", "blue", (96, 64))).decode()
DATA_URL = f"data:image/png;base64,{IMAGE}"


@dataclass(frozen=True)
class Call:
    """One request beside the drawing: some programs look around first, or stop what they asked for."""

    method: str
    path: str
    options: dict[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True)
class Recorded:
    """How one program asks for images: what it asks `before`, the `body` it sends to `path`, and what it reads.

    `keyless`: it cannot send a key. `size`, `sampler` (ours), `seed`: what the body means.
    """

    client: str
    body: dict[str, Any]
    path: str = f"{API}/txt2img"
    before: tuple[Call, ...] = ()
    keyless: bool = False
    size: tuple[int, int] = (512, 512)
    sampler: str = "ddim"
    seed: int | None = None
    count: int = 1
    model: str = "demo"


def _look(*names: str) -> tuple[Call, ...]:
    return tuple(Call("GET", f"{API}/{name}") for name in names)


_SILLY_TAVERN = {
    "url": "http://127.0.0.1:5001", "auth": "me:swordfish", "prompt": PROMPT, "negative_prompt": "a dog",
    "sampler_name": "DPM++ 2M", "scheduler": "normal", "steps": 20, "cfg_scale": 7, "width": 512, "height": 768,
    "restore_faces": False, "enable_hr": False, "hr_upscaler": "Latent", "hr_scale": 2, "hr_additional_modules": [],
    "denoising_strength": 0.7, "hr_second_pass_steps": 0, "seed": 7,
    "override_settings": {"CLIP_stop_at_last_layers": 1}, "override_settings_restore_afterwards": True,
    "clip_skip": 1, "save_images": True, "send_images": True, "do_not_save_grid": False, "do_not_save_samples": False,
}  # fmt: skip
_KOBOLD = {
    "prompt": PROMPT, "negative_prompt": "a dog", "seed": -1, "sampler_name": "Euler a", "batch_size": 1, "n_iter": 1,
    "steps": 20, "cfg_scale": 7, "width": 512, "height": 512, "tiling": False, "do_not_save_samples": True,
    "do_not_save_grid": True, "eta": 0, "denoising_strength": 0.6, "s_churn": 0, "s_tmax": 0, "s_tmin": 0, "s_noise": 1,
    "override_settings": {
        "sd_model_checkpoint": "demo", "eta_noise_seed_delta": 0, "CLIP_stop_at_last_layers": 1.0,
        "ddim_discretize": "uniform", "img2img_fix_steps": False, "sd_hypernetwork": "None",
        "inpainting_mask_weight": 1, "initial_noise_multiplier": 1, "comma_padding_backtrack": 20,
    },
}  # fmt: skip
_MCP = {
    "prompt": PROMPT, "width": 768, "height": 768, "steps": 30, "cfg_scale": 7.0, "sampler_name": "DPM++ 2M",
    "scheduler": "Karras", "negative_prompt": "", "override_settings": {"sd_model_checkpoint": "demo"},
}  # fmt: skip
_AIYABOT = {
    "prompt": PROMPT, "negative_prompt": "", "steps": 15, "cfg_scale": "7.0", "width": 512, "height": 512, "seed": 7,
    "sampler_index": "Euler a", "styles": [""], "denoising_strength": None, "n_iter": 2, "batch_size": 2,
    "restore_faces": False, "tiling": False, "enable_hr": False,
    "override_settings": {"CLIP_stop_at_last_layers": 1, "enable_pnginfo": True, "live_previews_enable": True},
}  # fmt: skip
_BACKEND_CLIENT = {
    "prompt": PROMPT, "negative_prompt": "", "batch_size": 1, "n_iter": 1, "steps": 20, "cfg_scale": 7.5,
    "width": 512, "height": 512, "seed": 7, "sampler_name": "Euler a", "scheduler": "normal", "restore_faces": False,
    "tiling": False, "send_images": True, "save_images": False, "alwayson_scripts": {}, "inpainting_fill": 1,
    "mask_blur": 4, "force_task_id": "task(txt2img-ABCDEFG)",
}  # fmt: skip

RECORDED = [
    Recorded("Open WebUI", {"prompt": PROMPT, "batch_size": 1, "width": 512, "height": 512}, before=(
        Call("GET", f"{API}/options"),
        Call("POST", f"{API}/options", {"json": {
            "samples_format": "png", "sd_model_checkpoint": "demo", "sd_checkpoint_hash": "", "sd_vae": "Automatic",
            "CLIP_stop_at_last_layers": 1,
        }}),
        Call("GET", f"{API}/sd-models"),
    )),
    Recorded("Open WebUI, admin's parameters", {
        "prompt": PROMPT, "batch_size": 2, "width": 640, "height": 384, "steps": 12, "negative_prompt": "a dog",
        "cfg_scale": 5.0, "sampler_name": "Euler a", "scheduler": "Automatic",
    }, size=(640, 384), sampler="k_euler_a", count=2),
    Recorded("SillyTavern, auto", _SILLY_TAVERN, size=(512, 768), sampler="k_dpmpp_2m", seed=7, before=(
        *_look("options", "sd-models", "samplers", "schedulers", "upscalers", "latent-upscale-modes", "sd-vae"),
        Call("GET", f"{API}/sd-modules", status=404),
        Call("POST", f"{API}/options", {"json": {"sd_model_checkpoint": "demo"}}),
        Call("GET", f"{API}/progress"),
    )),
    Recorded("SillyTavern, sdcpp", {
        "prompt": PROMPT, "negative_prompt": "", "sampler_name": "Euler a", "scheduler": "simple", "steps": 20,
        "cfg_scale": 7, "width": 512, "height": 512, "seed": -1, "batch_size": 1, "clip_skip": 1,
        "denoising_strength": 0.7,
    }, keyless=True, sampler="k_euler_a", before=(Call("GET", "/v1/models"),)),
    Recorded("KoboldAI Lite", _KOBOLD, keyless=True, sampler="k_euler_a", before=_look("sd-models", "options")),
    Recorded("KoboldAI Lite, image to image", _KOBOLD | {"init_images": [IMAGE]}, path=f"{API}/img2img", keyless=True,
             sampler="k_euler_a"),
    Recorded("LibreChat", {
        "prompt": PROMPT, "negative_prompt": "a dog", "cfg_scale": 4.5, "steps": 22, "width": 1024, "height": 1024,
    }, keyless=True, size=(1024, 1024)),
    Recorded("image-generation-mcp", _MCP, keyless=True, size=(768, 768), sampler="k_dpmpp_2m_ka",
             before=_look("sd-models", "options", "progress")),
    Recorded("image-generation-mcp, 16:9", _MCP | {"width": 912, "height": 512}, size=(912, 512),
             sampler="k_dpmpp_2m_ka"),
    Recorded("image-generation-mcp, image to image", _MCP | {"init_images": [IMAGE], "denoising_strength": 0.75},
             path=f"{API}/img2img", size=(768, 768), sampler="k_dpmpp_2m_ka"),
    Recorded("AI Render", {
        "prompt": PROMPT, "negative_prompt": "", "init_images": [DATA_URL], "denoising_strength": 0.6, "steps": 25,
        "cfg_scale": 7, "width": 512, "height": 512, "seed": 7, "sampler_index": "DPM++ 2M Karras", "sampler": "k_lms",
        "image_similarity": 0.4, "alwayson_scripts": {},
    }, path=f"{API}/img2img", keyless=True, sampler="k_dpmpp_2m_ka", seed=7, before=(
        Call("GET", "/controlnet/model_list"), *_look("upscalers"),
    )),
    Recorded("aiyabot", _AIYABOT, sampler="k_euler_a", seed=7, count=4, before=(
        *_look("cmd-flags", "samplers", "prompt-styles", "face-restorers", "embeddings", "hypernetworks", "upscalers",
               "sd-models", "loras", "options"),
        Call("GET", "/config", status=404), Call("POST", "/login", {"data": {"username": "a"}}, status=404),
    )),
    Recorded("Auto-Photoshop", {
        "prompt": PROMPT, "negative_prompt": "", "steps": 20, "sampler_index": "Euler a", "batch_size": 1,
        "cfg_scale": 7, "width": 512, "height": 512, "seed": 7, "restore_faces": False, "enable_hr": False,
        "denoising_strength": 0.7, "uniqueDocumentId": "d-1", "mask_blur": 8, "inpainting_fill": 1,
        "inpaint_full_res": False, "alwayson_scripts": {"controlnet": {"args": [{"enabled": False, "module": "none"}]}},
    }, keyless=True, sampler="k_euler_a", seed=7, before=(
        Call("POST", f"{API}/interrupt", {"data": b"", "content_type": "application/json"}),
    )),
    Recorded("sd-backend-client", _BACKEND_CLIENT, sampler="k_euler_a", seed=7, before=(
        Call("GET", "/system_stats", status=404), *_look("options", "script-info", "scripts", "progress"),
        Call("GET", f"{API}/interrogate", status=404),
    )),
    Recorded("sd-backend-client, image to image", _BACKEND_CLIENT | {
        "init_images": [DATA_URL], "denoising_strength": 0.75, "force_task_id": "task(img2img-ABCDEFG)",
    }, path=f"{API}/img2img", sampler="k_euler_a", seed=7),
    Recorded("sd-api-mcp", {
        "prompt": PROMPT, "negative_prompt": "", "steps": 20, "width": 512, "height": 512, "cfg_scale": 7.0,
        "sampler_name": "Euler a", "scheduler": "Automatic", "seed": -1, "n_iter": 2, "restore_faces": False,
        "tiling": False, "distilled_cfg_scale": 3.5,
    }, sampler="k_euler_a", count=2, before=(
        Call("POST", f"{API}/extra-batch-images", {"json": {
            "resize_mode": 0, "upscaling_resize": 4.0, "upscaler_1": "R-ESRGAN 4x+", "upscaler_2": "None",
            "imageList": [{"data": IMAGE, "name": "a.png"}],
        }}, status=422),
        Call("POST", f"{API}/extra-batch-images", {"json": {
            "resize_mode": 0, "upscaling_resize": 2.0, "upscaler_1": "Lanczos", "upscaler_2": "None",
            "imageList": [{"data": IMAGE, "name": "a.png"}],
        }}),
        Call("GET", "/controlnet/module_list"),
    )),
    Recorded("drawbridge", {"prompt": PROMPT, "steps": 20, "width": 512, "height": 512, "sampler_name": "Euler"},
             sampler="k_euler", before=(
        *_look("options", "progress", "sd-models", "prompt-styles"),
        Call("POST", f"{API}/unload-checkpoint"), Call("POST", f"{API}/reload-checkpoint"),
    )),
]  # fmt: skip
