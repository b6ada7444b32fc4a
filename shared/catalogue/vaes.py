"""VAEs in files of their own, and tiny decoders: which there are, and which fits a model."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from shared.catalogue.kinds import FAMILY_NAMES, TINY_VAE, VAE
from shared.catalogue.models import Catalogue, Model, OtherFile, some_of

FULL, TINY = "full", "tiny"
DECODERS = (FULL, TINY)
_LONGEST_NAME, _NEAR = 200, 5
_SDXL, _CHANNELS = "sdxl", 4
# the families that can be given another VAE; how the names of published tiny decoders begin
_TINY_NAMES: Mapping[str, str] = {"sd1": "taesd", "sd2": "taesd", "sdxl": "taesdxl"}
_XL = re.compile(r"sdxl|(?<![a-z])xl(?![a-z])", re.IGNORECASE)


def vaes_of(files: Iterable[OtherFile], kind: str = VAE) -> list[OtherFile]:
    """Those of the files that are VAEs, or of `kind` TINY_VAE the tiny ones that can decode or cannot be read."""
    return [file for file in files if file.kind == kind and (kind == VAE or file.channels or file.unusable)]


def why_not(vae: OtherFile) -> str | None:
    """What keeps a VAE from being used with any model, as a sentence; None when nothing does."""
    if vae.unusable:
        return f"'{vae.name}' cannot be used: {vae.shown} {vae.unusable}."
    if not vae.channels:
        return f"'{vae.name}' cannot be used: {vae.shown} has no decoder."
    if not families_of(vae):
        return (
            f"'{vae.name}' cannot be used: it is a VAE for latents of {vae.channels} channels, which no model here has."
        )
    return None


def families_of(vae: OtherFile) -> tuple[str, ...]:
    """The families whose latents it decodes. VAEs of Stable Diffusion XL have the layout of the older ones, so only
    their name tells; one with any other name may be of each."""
    if vae.channels != _CHANNELS:
        return ()
    if _is_of_xl(vae):
        return (_SDXL,)
    return tuple(family for family in _TINY_NAMES if vae.kind == VAE or family != _SDXL)


def _is_of_xl(file: OtherFile) -> bool:
    return file.family == _SDXL or (not file.family and _XL.search(file.name) is not None)


def unknown_vae(asked: str, catalogue: Catalogue) -> str:
    """What to write in the place of a name that no VAE has, as a sentence."""
    if tiny := catalogue.find_other(TINY_VAE, asked):
        return f"'{tiny.name}' is a tiny decoder: ask for it with decoder \"tiny\"."
    names = [file.name for file in vaes_of(catalogue.others)]
    if not names:
        return f"No VAE is called '{asked[:_LONGEST_NAME]}'; no worker here has any. Leave it out for the model's own."
    alike = [each for each in names if each.lower() == asked.lower()]
    if len(asked) <= _LONGEST_NAME:
        alike += difflib.get_close_matches(asked, names, n=_NEAR, cutoff=0.5)
    near = f"like it are: {', '.join(dict.fromkeys(alike))}" if alike else f"there are: {some_of(names)}"
    return f"No VAE is called '{asked[:_LONGEST_NAME]}'; {near}."


def misfit(vae: OtherFile, model: Model) -> str | None:
    """Why a VAE cannot work with a model, as a sentence; None where it can."""
    if sentence := why_not(vae):
        return sentence
    if model.own_latents or model.family not in _TINY_NAMES:
        return f"The model '{model.name}' works with its own VAE alone: leave this out."
    if model.family not in families_of(vae):
        its, ours = (_called(families_of(vae)), _called((model.family,)))
        return f"'{vae.name}' is a VAE for {its}, and the model '{model.name}' is {ours}: leave one of them out."
    return None


def tiny_for(files: Iterable[OtherFile], model: Model) -> OtherFile | None:
    """The tiny decoder for a model, the first that is found; None where there is none."""
    if model.own_latents:
        return None
    tiny = (file for file in vaes_of(files, TINY_VAE) if not file.unusable)
    return next((file for file in tiny if model.family in families_of(file)), None)


def without_tiny(model: Model) -> str:
    """What is to be said where there is no tiny decoder for a model, as a sentence with the remedy."""
    name = None if model.own_latents else _TINY_NAMES.get(model.family)
    if name is None:
        return f"There are no tiny decoders for the model '{model.name}': leave decoder out, or full."
    return (
        f"No tiny decoder for {_called((model.family,))} is here: leave decoder out, or put {name}_decoder.safetensors"
        " (or .pth) into MODELS_DIR/VAE-approx."
    )


def _called(families: Sequence[str]) -> str:
    return " or ".join(FAMILY_NAMES[family] for family in families)
