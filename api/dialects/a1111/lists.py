"""The lists that A1111's clients fill their menus from, and what they ask to be read anew."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from api.dialects.a1111.drawing import chosen_model
from api.dialects.a1111.extras import UPSCALERS
from api.dialects.a1111.names import checkpoint_entry
from api.dialects.samplers import sampler_list, scheduler_list
from api.services import Services
from shared.catalogue.adapter_facts import FAMILY_OF_WIDTH
from shared.catalogue.kinds import EMBEDDING, LORA, VAE
from shared.catalogue.models import Model, OtherFile
from shared.catalogue.upscalers import upscalers_of
from shared.catalogue.vaes import vaes_of
from shared.catalogue.vaes import why_not as why_no_vae
from shared.request.adapters import why_not

_OBJECT = {"type": "object"}
_OBJECTS = {"type": "array", "items": _OBJECT}
_WIDTHS = {family: width for width, family in FAMILY_OF_WIDTH.items()}


@dataclass(frozen=True)
class Listing:
    """One list: its address, what it is, and what it answers, in the shape `schema`."""

    path: str
    summary: str
    answer: Callable[[Services], Any]
    schema: dict[str, Any]


def _none(path: str, what: str) -> Listing:
    return Listing(path, f"{what}: none are here (A1111).", lambda _: [], _OBJECTS)


LISTINGS: Sequence[Listing] = (
    Listing(
        "sd-models", "The models that can be drawn with now (A1111).", lambda services: _models(services), _OBJECTS
    ),
    Listing("samplers", "The samplers (A1111).", lambda _: sampler_list(), _OBJECTS),
    Listing("schedulers", "The samplers' schedules (A1111).", lambda _: scheduler_list(), _OBJECTS),
    Listing("upscalers", "How images can be enlarged (A1111).", lambda services: _upscalers(services), _OBJECTS),
    Listing("loras", "The LoRAs (A1111).", lambda services: _loras(services), _OBJECTS),
    Listing("sd-vae", "VAEs beside those of the models (A1111).", lambda services: _vaes(services), _OBJECTS),
    Listing("scripts", "Scripts: none are here (A1111).", lambda _: {"txt2img": [], "img2img": []}, _OBJECT),
    Listing("cmd-flags", "Flags of the program: none (A1111).", lambda _: {}, _OBJECT),
    Listing("memory", "The memory of the machine that answers (A1111).", lambda _: _memory(), _OBJECT),
    _none("latent-upscale-modes", "Ways to enlarge latents"),
    _none("hypernetworks", "Hypernetworks"),
    _none("face-restorers", "Restorers of faces"),
    _none("realesrgan-models", "Upscalers of that kind"),
    _none("prompt-styles", "Styles"),
    _none("extensions", "Extensions"),
    _none("script-info", "Scripts, and what they take"),
)
WITHOUT_EFFECT = {
    "refresh-checkpoints": "Read the models anew: that is done all the time (A1111).",
    "refresh-vae": "Read the VAEs anew: that is done all the time (A1111).",
    "refresh-loras": "Read the LoRAs anew: that is done all the time (A1111).",
    "refresh-embeddings": "Read the embeddings anew: that is done all the time (A1111).",
    "unload-checkpoint": "Free the device: workers do so by themselves (A1111).",
    "reload-checkpoint": "Load the model again: workers do so by themselves (A1111).",
}
"""What may be posted and changes nothing."""


def available_models(services: Services) -> list[Model]:
    """The models of the catalogue that a live worker has; while none lives, all of them."""
    cards = services.workers.live()
    here = {name for card in cards for name in card.available_models}
    return [model for model in services.catalogue if model.name in here or not here]


def _models(services: Services) -> list[dict[str, Any]]:
    return [checkpoint_entry(model) for model in available_models(services)]


def embeddings_of(services: Services, owner: str) -> dict[str, Any]:
    """What `GET /sdapi/v1/embeddings` answers to a key: `loaded` are those for the family of its model."""
    model = chosen_model(services, owner)
    found: dict[str, dict[str, Any]] = {"loaded": {}, "skipped": {}}
    for other in services.catalogue.others:
        if other.kind == EMBEDDING and not other.unusable:
            place = "loaded" if other.family in ("", model.family) else "skipped"
            found[place][other.name] = {
                "step": None, "sd_checkpoint": None, "sd_checkpoint_name": None,
                "shape": _WIDTHS.get(other.family), "vectors": other.vectors,
            }  # fmt: skip
    return found


def _loras(services: Services) -> list[dict[str, Any]]:
    """Those that can be used; the alias is one that a prompt can name as well."""
    return [
        {"name": other.name, "alias": other.name, "path": other.shown, "metadata": _metadata(other)}
        for other in services.catalogue.others
        if other.kind == LORA and why_not(other) is None
    ]


def _metadata(lora: OtherFile) -> dict[str, Any]:
    """What its file says of it, under the names that files have for it."""
    told = {
        "modelspec.title": lora.title,
        "modelspec.trigger_phrase": ", ".join(lora.trigger_words),
        "modelspec.tags": ", ".join(lora.tags),
        "ss_sd_model_name": lora.base,
    }
    return {name: text for name, text in told.items() if text}


def _upscalers(services: Services) -> list[dict[str, Any]]:
    """The filters, and the networks that can be used."""
    networks = [each for each in upscalers_of(services.catalogue) if each.file and not each.why_not]
    return [
        {"name": name, "model_name": None, "model_path": path, "model_url": None, "scale": 4.0}
        for name, path in (
            *((name, None) for name in UPSCALERS),
            *((each.name, each.file.shown) for each in networks if each.file),
        )
    ]


def _vaes(services: Services) -> list[dict[str, Any]]:
    """By their files' names, as far as these mean them; those that can be used."""
    catalogue = services.catalogue
    named = [(vae.shown.rpartition("/")[2], vae) for vae in vaes_of(catalogue.others) if not why_no_vae(vae)]
    return [
        {"model_name": name if catalogue.find_other(VAE, name) == vae else vae.name, "filename": vae.shown}
        for name, vae in named
    ]


def _memory() -> dict[str, Any]:
    """In bytes, where the system tells; of a worker's device nothing is known here."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = os.sysconf("SC_PHYS_PAGES") * page
    free = os.sysconf("SC_AVPHYS_PAGES") * page if "SC_AVPHYS_PAGES" in os.sysconf_names else 0
    return {"ram": {"free": free, "used": total - free, "total": total}, "cuda": {}}
