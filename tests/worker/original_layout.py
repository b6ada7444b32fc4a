"""The twins of tiny models in the original layout, in the diffusers layout, for tests."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.worker.sd_models import SCHEDULER
from tests.worker.xl_models import XL_INDEX, XL_SCHEDULER
from worker.models.clip_tokenizer import clip_tokenizer


def write_folder(parts: Mapping[str, Any], folder: Path, second: bool = False) -> None:
    """The twin in the diffusers layout; parts with two text encoders are those of XL."""
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    clip_tokenizer("!" if second else "<|endoftext|>").save_pretrained(folder / "tokenizer")
    scheduler: Mapping[str, Any] = SCHEDULER | {"prediction_type": "v_prediction" if second else "epsilon"}
    index: Mapping[str, Any] = {"_class_name": "StableDiffusionPipeline"}
    if second:
        scheduler = {**scheduler, "_class_name": "DDIMScheduler"}
    if "text_encoder_2" in parts:
        clip_tokenizer("!").save_pretrained(folder / "tokenizer_2")
        scheduler, index = XL_SCHEDULER, XL_INDEX
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    (folder / "model_index.json").write_text(json.dumps(index))
