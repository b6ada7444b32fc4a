"""The fields of image to image: what is drawn on, and how far it is left."""

import math
from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, validates_schema
from marshmallow.validate import OneOf, Range

from shared.catalogue.upscalers import LANCZOS
from shared.request.fields import Base64Image, EnlargeFactor, Number, Text
from shared.request.hires import LATENT

INPUT_RESIZERS = (LANCZOS, LATENT)
Size = tuple[int, int]
"""Width and height in pixels."""


class ImageFields(Schema):
    """Start from an image."""

    init_img = Base64Image(
        required=True, max_pixels=0,
        metadata={"description": (
            "The image to start from, as base64; data: prefix, line breaks, URL-safe: all are read."
        )},
    )  # fmt: skip
    strength = Number(
        data_key="denoising_strength", load_default=0.75, validate=Range(0, 1, min_inclusive=False),
        metadata={"description": "How far to leave the input: near 0 keeps it, 1 starts from noise alone."},
    )  # fmt: skip
    noise_multiplier = Number(
        load_default=1.0, validate=Range(0, 2),
        metadata={"description": "Factor on the noise that is added to the input."},
    )  # fmt: skip
    upscale = EnlargeFactor(
        load_default=1,
        metadata={"description": "Enlarge the input first: false, true (twice) or a factor from 1 to 4."},
    )  # fmt: skip
    resize_input = Text(
        load_default=LANCZOS, validate=OneOf(INPUT_RESIZERS),
        metadata={"description": (
            "How init_img becomes as large as what is drawn: lanczos, its pixels do; latent, it is encoded as it is, "
            "and its latents do, which leaves more to be drawn."
        )},
    )  # fmt: skip
    post_upscale = EnlargeFactor(
        load_default=1, metadata={"description": "Enlarge the result: false, true (twice) or a factor from 1 to 4."}
    )

    @validates_schema(skip_on_field_errors=False)
    def _is_whole(self, data: Mapping[str, Any], **_: Any) -> None:
        if data.get("resize_input") == LATENT and (data.get("mask") or data.get("expand")):
            text = "Is for an image that is drawn on as a whole; leave it out beside mask and expand."
            raise ValidationError(text, "resize_input")


def encoded_size(resizer: str, size: Size, drawn: Size, step: int) -> Size:
    """The size at which an input of `size` is encoded, of which `drawn` is drawn: multiples of `step`.

    Latents only become larger: a side that is longer than what is drawn is shortened as pixels.
    """
    if resizer != LATENT:
        return drawn
    nearest = (max(step, math.floor(side / step + 0.5) * step) for side in size)
    width, height = (min(of, side) for side, of in zip(nearest, drawn, strict=True))
    return width, height


def about_input(resizer: str, size: Size | None, drawn: Size, step: int) -> tuple[str, ...]:
    """What is to be said of how an input of this size, None without one, becomes as large as what is drawn."""
    if size is None or resizer != LATENT or encoded_size(resizer, size, drawn, step) != drawn:
        return ()
    return ("resize_input: it changes nothing, for the input is not smaller than what is drawn.",)
