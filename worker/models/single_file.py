"""Models in the original layout of CompVis and Stability AI: everything in one `.safetensors` or `.ckpt` file.

A file says nothing of its structure except by the names and shapes of its weights. What shapes cannot tell (how many
attention heads, the noise schedule, what is predicted) is in `worker/models/layouts`, one file for each of the original
inference yamls. `worker/models/original_parts.py` makes the parts.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from shared.catalogue.kinds import FIRST
from shared.catalogue.layouts import LAYOUTS
from shared.catalogue.models import AVERAGED, MEASURED, Model
from shared.catalogue.recognition import EPSILON, V_PREDICTION, FileFacts, objection, recognise, yaml_beside
from shared.catalogue.tensors import NotUsable
from shared.catalogue.weights_file import read_header
from worker.hardware.variants import Precision
from worker.models.checkpoint import Parts
from worker.models.clip_tokenizer import clip_tokenizer
from worker.models.original_parts import OTHER_SHAPES, UNET, VAE, text_encoders, unet, vae
from worker.models.text_weights import ORIGINAL_TEXTS
from worker.models.weights_file import opened

log = logging.getLogger(__name__)

_FOLDER = Path(__file__).with_name("layouts")
_TEXTS = tuple(text.prefix for text in ORIGINAL_TEXTS)
TEXT_ENCODER_PART, VAE_PART = "text encoder", "VAE"
"""The parts that a file may lack and another may give, as `FileFacts.lacks` names them."""


def read_single_file(model: Model, file: Path, precision: Precision, donors: Mapping[str, Path] | None = None) -> Parts:
    """Read `file` as the checkpoint of `model`, without any network; raises NotUsable.

    `donors`: files from which to take the parts that this one lacks. Code in a pickle is never run.
    """
    facts = _facts_of(model, file)
    missing = [part for part in facts.lacks if part not in (donors or {})]
    if missing:
        raise NotUsable(f"has no {' and no '.join(missing)}; put a whole checkpoint in its place")
    layout = _layout(model)
    try:
        return _built(model, file, precision, facts, layout, donors or {})
    except (IndexError, AttributeError, TypeError) as other_shapes:
        raise NotUsable(OTHER_SHAPES) from other_shapes


def _built(
    model: Model,
    file: Path,
    precision: Precision,
    facts: FileFacts,
    layout: Mapping[str, Any],
    donors: Mapping[str, Path],
) -> Parts:
    remarks = []
    with opened(file) as weights:
        denoiser = unet(layout, weights, precision.denoiser, model.weights == AVERAGED)
        if VAE_PART not in facts.lacks:
            decoder = vae(layout, weights, precision.others)
        if TEXT_ENCODER_PART not in facts.lacks:
            texts = text_encoders(model.facts, layout, weights, precision.others)
    for part in facts.lacks:
        with opened(donors[part]) as weights:
            if part == VAE_PART:
                decoder = vae(layout, weights, precision.others)
            else:
                texts = text_encoders(model.facts, layout, weights, precision.others)
        remarks.append(f"ckpt: {file.name} has no {part}; that of {donors[part].name} was used.")
    return Parts(
        denoiser=denoiser,
        vae=decoder,
        text_encoders=texts,
        tokenizers={name: clip_tokenizer(**layout[name]) for name in model.facts.tokenizers},
        scheduler_config=_scheduler_config(model, facts, layout, denoiser),
        remarks=tuple(remarks),
    )


def weights_in_file(model: Model, file: Path) -> int:
    """The number of weights that `read_single_file` would keep in memory; raises NotUsable."""
    _require_layouts(model)
    header = read_header(file)
    wanted = (UNET, VAE, *_TEXTS) if FIRST in header.tensors else ("",)
    return sum(tensor.count for name, tensor in header.tensors.items() if name.startswith(wanted))


# ---- recognising


def _facts_of(model: Model, file: Path) -> FileFacts:
    """Raises NotUsable, saying what the file is instead, unless it is a text-to-image model of the entry's family."""
    _require_layouts(model)
    facts = recognise(read_header(file), yaml_beside(file))
    if wrong := objection(facts, model.family):
        raise NotUsable(wrong)
    return facts


def _require_layouts(model: Model) -> None:
    if not any(layout.family == model.family for layout in LAYOUTS.values()):
        raise NotUsable(f"is a single file, and of the family {model.family} only diffusers folders can be read")


def _layout(model: Model) -> Mapping[str, Any]:
    name = model.configs[0]
    file = _FOLDER / f"{PurePosixPath(name).stem}.json"
    if name not in LAYOUTS or not file.is_file():
        raise NotUsable(
            f"is a single file, whose layout {name} is unknown: put one of {', '.join(LAYOUTS)} into its entry"
        )
    layout: Mapping[str, Any] = json.loads(file.read_text())
    return layout


def _scheduler_config(model: Model, facts: FileFacts, layout: Mapping[str, Any], unet: Any) -> Mapping[str, Any]:
    """The layout's, with what the entry says, else the file, of what is predicted."""
    config = dict(layout["scheduler"])
    prediction = facts.prediction if model.prediction in ("", MEASURED) else model.prediction
    if not prediction and model.prediction == MEASURED:
        prediction = _measured_prediction(unet)
        log.info("the model %s predicts %s, as its answer to noise tells", model.name, prediction)
    if prediction:
        config["prediction_type"] = prediction
    if facts.zero_snr and config["prediction_type"] == V_PREDICTION:
        config["rescale_betas_zero_snr"] = True
    return config


def _measured_prediction(unet: Any) -> str:
    """What a UNet of 2.x predicts, by its answer to a grey image at the last timestep.

    There the noise is nearly all of the input, and what predicts noise returns it; the A1111 web UI asks the same way.
    """
    if unet.config.in_channels != unet.config.out_channels:
        return EPSILON  # the one for inpainting that was published
    dtype = unet.dtype
    grey = torch.full((1, unet.config.in_channels, 8, 8), 0.5, dtype=dtype)
    text = torch.full((1, 2, unet.config.cross_attention_dim), 0.5, dtype=dtype)
    with torch.no_grad():
        answer = unet(grey, torch.tensor([999]), text).sample
    return V_PREDICTION if float((answer - grey).float().mean()) < -1 else EPSILON
