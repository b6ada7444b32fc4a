"""The twins of tiny models in the original layout, in the diffusers layout, for tests."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.worker.conftest import SCHEDULER
from worker.models.clip_tokenizer import clip_tokenizer


def write_folder(parts: Mapping[str, Any], folder: Path, second: bool) -> None:
    """The twin in the diffusers layout."""
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    clip_tokenizer("!" if second else "<|endoftext|>").save_pretrained(folder / "tokenizer")
    (folder / "scheduler").mkdir()
    scheduler = SCHEDULER | {"prediction_type": "v_prediction" if second else "epsilon"}
    if second:
        scheduler |= {"_class_name": "DDIMScheduler"}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
