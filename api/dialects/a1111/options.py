"""A1111's options: of all that it keeps for everybody, each key has here a model of its own, and no more."""

from collections.abc import Mapping
from typing import Any

from api.dialects.a1111.drawing import chosen_model
from api.dialects.a1111.names import choose_checkpoint, title_of
from api.dialects.a1111.parameters import CHECKPOINT, CLIP_SKIP, FORMAT, SD_VAE
from api.dialects.a1111.refusals import is_no_name, refused_settings
from api.services import Services
from shared.errors import InvalidRequest

_PNG = "png"


def options_of(services: Services, owner: str) -> dict[str, Any]:
    """What `GET /sdapi/v1/options` answers to a key."""
    return {
        FORMAT: _PNG,
        CHECKPOINT: title_of(chosen_model(services, owner)),
        "sd_checkpoint_hash": "",
        SD_VAE: "Automatic",
        CLIP_SKIP: 1,
    }


def set_options(services: Services, owner: str, options: Mapping[str, Any]) -> None:
    """Choose the key's model; what stands as it is, or changes no image, may be there too.

    Raises InvalidRequest for a model that is not here, and for every option that cannot be had.
    """
    refused = refused_settings(options, "")
    if options.get(CLIP_SKIP) not in (None, 0, 1):
        refused[CLIP_SKIP] = ["Is 1 for all; ask for another one with override_settings."]
    if not is_no_name(options.get(SD_VAE)):
        refused[SD_VAE] = ["Is Automatic for all; ask for another one with override_settings."]
    if options.get(FORMAT, _PNG) not in (None, _PNG):
        refused[FORMAT] = [f"Is {_PNG} for all; ask for another one with override_settings, or leave it out."]
    if refused:
        raise InvalidRequest("Of these options, some cannot be set here.", refused)
    asked = options.get(CHECKPOINT)
    if asked is None or asked == "":
        return
    if not isinstance(asked, str):
        raise InvalidRequest("No such model.", {CHECKPOINT: ["Must be text."]})
    model = choose_checkpoint(services.catalogue, asked, CHECKPOINT)
    services.chosen_models.choose(owner, model.name)
