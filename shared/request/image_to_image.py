"""The fields of image to image: what is drawn on, and how far it is left."""

from marshmallow import Schema
from marshmallow.validate import Range

from shared.request.fields import Base64Image, EnlargeFactor, Number


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
    post_upscale = EnlargeFactor(
        load_default=1, metadata={"description": "Enlarge the result: false, true (twice) or a factor from 1 to 4."}
    )
