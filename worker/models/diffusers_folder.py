"""Models in the diffusers layout: a folder with one folder a part, which of them the facts of the family tell."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from shared.catalogue.families import FamilyFacts
from shared.catalogue.folder import INDEX, check_folder, read_config, require_weights, weights_files
from shared.catalogue.models import Model
from shared.catalogue.weights_file import read_header
from shared.text_files import read_text_file
from worker.hardware.variants import Precision
from worker.models.checkpoint import Parts

_TRANSFORMERS_FILE = "model"
_DIFFUSERS_FILE = "diffusion_pytorch_model"


def _weights(facts: FamilyFacts) -> Mapping[str, str]:
    """Folders with weights, each with the name of its file without the ending."""
    denoiser, _ = facts.denoiser
    return dict.fromkeys((denoiser, facts.vae[0]), _DIFFUSERS_FILE) | dict.fromkeys(
        facts.text_encoders, _TRANSFORMERS_FILE
    )


def hub_files(facts: FamilyFacts) -> tuple[str, ...]:
    """The files of a model on the hub that are needed, as patterns.

    Names are exact but for the numbers of shards, so that neither pickles nor the second and third copy of the weights
    are fetched.
    """
    weights = _weights(facts)
    return (
        "model_index.json",
        "scheduler/scheduler_config.json",
        *(f"{tokenizer}/*" for tokenizer in facts.tokenizers),
        *(f"{part}/config.json" for part in weights),
        *(
            f"{part}/{stem}{ending}"
            for part, stem in weights.items()
            for ending in (".safetensors", ".safetensors.index.json", "-?????-of-?????.safetensors")
        ),
    )


def read_folder(model: Model, folder: Path, precision: Precision) -> Parts:
    """Read `folder` as the checkpoint of `model` into host memory: safetensors only, a pickle is never opened.

    Weights in one file or in shards, plain or as the variant fp16. Raises NotUsable, saying what it is, for a model
    that asks for what the engine does not give; what is missing or broken otherwise raises OSError, ValueError,
    KeyError or SafetensorError.
    """
    check_folder(folder, model.family, model.facts)
    # imported here: they take seconds, and only a worker that is about to load a model needs them
    import diffusers
    import transformers
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    facts = model.facts

    def part(kind: Any, name: str, dtype: torch.dtype) -> Any:
        loaded, report = kind.from_pretrained(
            str(folder),
            subfolder=name,
            use_safetensors=True,
            local_files_only=True,
            dtype=dtype,
            variant=require_weights(folder, name),
            output_loading_info=True,
        )
        if missing := report["missing_keys"]:
            # the libraries would fill them with random numbers and go on
            raise ValueError(f"{name} lacks {len(missing)} weights, among them {min(missing)}")
        return loaded.eval().requires_grad_(False)

    text_encoders = {
        name: part(_text_class(kind), name, precision.others) for name, kind in facts.text_encoders.items()
    }
    tokenizers = {
        name: getattr(transformers, kind).from_pretrained(str(folder / name), local_files_only=True)
        for name, kind in facts.tokenizers.items()
    }
    for tokenizer, encoder in zip(tokenizers.values(), text_encoders.values(), strict=True):
        # a tokenizer whose config states no length claims 10^30
        most = getattr(encoder.config, "max_position_embeddings", tokenizer.model_max_length)
        tokenizer.model_max_length = min(tokenizer.model_max_length, most)
    denoiser, kind = facts.denoiser
    decoder, kinds = facts.vae
    named = read_config(folder, decoder, "config.json").get("_class_name")
    return Parts(
        denoiser=part(getattr(diffusers, kind), denoiser, precision.denoiser),
        vae=part(getattr(diffusers, named if named in kinds else kinds[0]), decoder, precision.others),
        text_encoders=text_encoders,
        tokenizers=tokenizers,
        scheduler_config=json.loads(read_text_file(folder / "scheduler" / "scheduler_config.json")),
        pipeline_config=read_config(folder, INDEX),
    )


def _text_class(kind: str) -> Any:
    """The class of that name in transformers, or in the one pipeline of diffusers with a text encoder of its own."""
    import transformers
    from diffusers.pipelines.latent_diffusion import pipeline_latent_diffusion

    return getattr(transformers, kind, None) or getattr(pipeline_latent_diffusion, kind)


def weights_in_folder(model: Model, folder: Path) -> int:
    """The number of weights of `model` in a folder, from the headers of its files; raises NotUsable."""
    return sum(
        tensor.count
        for part in _weights(model.facts)
        for file in weights_files(folder, part)
        for tensor in read_header(file).tensors.values()
    )
