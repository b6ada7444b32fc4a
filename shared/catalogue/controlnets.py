"""The ControlNets among the files of a catalogue: by which names they are asked for, and what they fit."""

import difflib

from shared.catalogue.families import FAMILY_FACTS
from shared.catalogue.kinds import CONTROLNET, FAMILY_NAMES, IP_ADAPTER, T2I_ADAPTER
from shared.catalogue.models import Catalogue, Model, OtherFile

_NEAR, _LONGEST_NAME = 5, 200
_NOT_DRAWN = (T2I_ADAPTER, IP_ADAPTER)


def find_controlnet(catalogue: Catalogue, name: str) -> OtherFile | None:
    """The ControlNet of that name, alias, place or hash, or None."""
    return catalogue.find_other(CONTROLNET, name)


def objection_to(catalogue: Catalogue, name: str, model: Model | None) -> str | None:
    """Why a request cannot have the ControlNet of that name with this model, as a sentence; None where it can."""
    found = find_controlnet(catalogue, name)
    if found is None:
        return _unknown(catalogue, name)
    if wrong := why_not(found):
        return wrong
    if model is None:
        return None
    if found.family == model.family:
        if found.reads_texts_of(model):
            return None
        return (
            f"'{found.name}' was made for models that read texts {found.text_width} wide, and the model "
            f"'{model.name}' reads texts {model.text_width} wide; see GET /controlnets."
        )
    its, ours = (FAMILY_NAMES.get(family, family) for family in (found.family, model.family))
    return f"'{found.name}' was made for {its}, and the model '{model.name}' is {ours}; see GET /controlnets."


def why_not(file: OtherFile) -> str | None:
    """What keeps a ControlNet from being used with any model, as a sentence; None when nothing does."""
    if file.unusable:
        return f"'{file.name}' cannot be used: {file.shown} {file.unusable}."
    if file.family not in FAMILY_FACTS:
        family = FAMILY_NAMES.get(file.family)
        known = f"was made for {family}, which is not drawn here" if family else "does not tell what it was made for"
        return f"'{file.name}' cannot be used: {file.shown} {known}."
    return None


def _unknown(catalogue: Catalogue, name: str) -> str:
    for other in catalogue.others:
        if name in (other.name, other.shown, *other.aliases):
            instead = "which is not supported" if other.kind in _NOT_DRAWN else "and no ControlNet"
            return f"'{other.name}' {other.sentence}, {instead}; see GET /controlnets."
    names = [other.name for other in catalogue.others if other.kind == CONTROLNET]
    if not names:
        return "No ControlNet is called so; no worker here has any."
    close = difflib.get_close_matches(name, names, n=_NEAR, cutoff=0.5) if len(name) <= _LONGEST_NAME else []
    if close:
        return f"No ControlNet is called so; like it are: {', '.join(close)}."
    return "No ControlNet is called so; GET /controlnets lists all."
