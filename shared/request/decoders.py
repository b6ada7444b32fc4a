"""What turns latents into the image, as a request asks for it: a VAE of one's own, a tiny decoder, seamless edges."""

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema
from marshmallow.validate import Length, OneOf

from shared.catalogue.kinds import VAE
from shared.catalogue.models import Catalogue, Model
from shared.catalogue.vaes import DECODERS, FULL, TINY, misfit, tiny_for, unknown_vae, why_not, without_tiny
from shared.request.fields import Flag, Text
from shared.request.hires import LATENT, Hires
from shared.request.model import Kind

_LONGEST = 1000


class DecoderFields(Schema):
    """The fields `vae`, `decoder` and `tiling`."""

    vae = Text(
        load_default=None, allow_none=True, validate=Length(max=_LONGEST),
        metadata={
            "description": "Name of a VAE file that takes the place of the model's own; see GET /vaes. null or "
            "empty: the model's own."
        },
    )  # fmt: skip
    decoder = Text(
        load_default=FULL, validate=OneOf(DECODERS),
        metadata={
            "description": "What makes the image of the latents: full, or tiny, which takes a small part of the time "
            "and memory and loses some detail. It needs a file of its own (taesd, taesdxl); without one it is refused."
        },
    )  # fmt: skip
    tiling = Flag(
        load_default=False,
        metadata={
            "description": "true: the image continues at its opposite edges, so that it tiles without seams, as "
            "textures do."
        },
    )  # fmt: skip


def decoder_problems(data: Mapping[str, Any], catalogue: Catalogue, model: Model | None) -> dict[str, list[str]]:
    """What keeps the VAE and the decoder that are asked for from being used with the model: a sentence a field."""
    problems = {}
    if asked := data.get("vae"):
        file = catalogue.find_other(VAE, asked)
        wrong = unknown_vae(asked, catalogue) if file is None else misfit(file, model) if model else why_not(file)
        if wrong:
            problems["vae"] = [wrong]
    if data.get("decoder") == TINY and model and tiny_for(catalogue.others, model) is None:
        problems["decoder"] = [without_tiny(model)]
    return problems


def resolved_vae(catalogue: Catalogue, asked: str | None) -> str | None:
    """The name that the catalogue has for a VAE; None for the model's own."""
    vae = catalogue.find_other(VAE, asked) if asked else None
    return vae.name if vae else None


def about_decoder(values: Mapping[str, Any], kind: Kind, hires: Hires | None) -> tuple[str, ...]:
    """What is to be said of the VAE and the decoder of a request that was loaded and is drawn in these passes."""
    encodes = kind == "img2img" or (hires is not None and hires.upscaler != LATENT)
    if values["vae"] and values["decoder"] == TINY and not encodes:
        return ('vae: it is not used, because decoder is "tiny"; leave one of them out.',)
    return ()
