"""What A1111 tells of finished images: the `info` of an answer, which is JSON in a string."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from api.dialects.samplers import split_name
from shared.jobs.records import Job
from shared.jobs.status import warnings_of
from shared.request.hires import Hires, label_of
from shared.request.lora_tags import with_lora_tags
from shared.version import VERSION

_ANY_SEED = -1


def generation_info(job: Job, infotexts: Sequence[str], warnings: Sequence[str]) -> dict[str, Any]:
    """All of A1111's fields for the images of a job, and two of ours: its `task_id`, and `warnings`."""
    request, params = job.request, job.request.params
    hires = params.hires
    prompts = [with_lora_tags(prompt, map(asdict, params.loras)) for prompt in (request.prompts[0], *job.prompts)]
    sampler, schedule = split_name(params.sampler, params.schedule)
    width, height = request.result_size
    count = len(job.images)
    seeds = [image.seed for image in job.images]
    return {
        "prompt": prompts[0],
        "all_prompts": prompts[1:],
        "negative_prompt": params.negative_prompt,
        "all_negative_prompts": [params.negative_prompt] * count,
        "seed": request.seed,
        "all_seeds": seeds,
        "subseed": _ANY_SEED,
        "all_subseeds": [_ANY_SEED] * count,
        "subseed_strength": 0,
        "width": width,
        "height": height,
        "sampler_name": sampler,
        "cfg_scale": params.guidance_scale,
        "steps": params.steps,
        "batch_size": request.n_samples,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": params.model,
        "sd_model_hash": next((task.used["model_hash"] for task in job.tasks if "model_hash" in task.used), ""),
        "sd_vae_name": params.vae,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": params.strength if request.kind == "img2img" else hires.strength if hires else None,
        "extra_generation_params": ({"Schedule type": schedule} if schedule else {}) | _second_pass(hires),
        "index_of_first_image": 0,
        "infotexts": list(infotexts),
        "styles": [],
        "job_timestamp": timestamp(job.created),
        "clip_skip": params.clip_skip,
        "is_using_inpainting_conditioning": False,
        "version": f"personal-diffusion {VERSION}",
        "task_id": job.id,
        "warnings": [*warnings_of(job), *warnings],
    }


def _second_pass(hires: Hires | None) -> dict[str, Any]:
    if hires is None:
        return {}
    return {"Hires steps": hires.steps_of_second, "Hires upscaler": label_of(hires.upscaler)}


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as A1111 writes a time: digits alone, in UTC."""
    return time.strftime("%Y%m%d%H%M%S", time.gmtime(seconds))
