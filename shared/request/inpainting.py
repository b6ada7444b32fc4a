"""The fields of inpainting: which part of the input image is drawn anew, and how it is put back."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validates_schema
from marshmallow.validate import OneOf, Range

from shared.request.fields import Base64Mask, Flag, Text, WholeNumber

WHITE, TRANSPARENT = "white", "transparent"
REDRAWS = (WHITE, TRANSPARENT)
ORIGINAL, FILL, LATENT_NOISE, LATENT_NOTHING = FILLS = ("original", "fill", "latent_noise", "latent_nothing")
MOST_EXPANDED = 2048
"""Pixels by which a side can be moved out."""
DEFAULT_BLUR, DEFAULT_PADDING = 4, 32


@dataclass(frozen=True)
class Expand:
    """Pixels that the input gets at each side before anything is drawn."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    def __bool__(self) -> bool:
        return any(astuple(self))

    def of(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) of an image of this size with them."""
        return size[0] + self.left + self.right, size[1] + self.top + self.bottom


def _side(name: str) -> WholeNumber:
    return WholeNumber(
        load_default=0, allow_none=True, validate=Range(0, MOST_EXPANDED),
        metadata={"description": f"Pixels to be drawn {name} the input."},
    )  # fmt: skip


class ExpandSchema(Schema):
    """`{"left": 64, "top": 0, "right": 64, "bottom": 0}`; a side that is left out stays."""

    left = _side("left of")
    top = _side("above")
    right = _side("right of")
    bottom = _side("below")

    @post_load
    def _as_value(self, data: Mapping[str, int | None], **_: Any) -> Expand | None:
        return Expand(**{name: side or 0 for name, side in data.items()}) or None


class InpaintingFields(Schema):
    """Redraw a part of the input image, or go on beyond its sides."""

    mask = Base64Mask(
        max_pixels=0, load_default=None, allow_none=True,
        metadata={"description": (
            "Which part of init_img is drawn anew, as base64: an image of any size, which is brought to that of "
            "init_img. The rest of init_img stays as it is. null: all of it, or with expand what that adds."
        )},
    )  # fmt: skip
    mask_redraw = Text(
        load_default=WHITE, validate=OneOf(REDRAWS),
        metadata={"description": (
            "What of the mask is drawn anew: white (and all that is nearer to white than to black), or what is "
            "transparent (in a mask without transparency, white)."
        )},
    )  # fmt: skip
    mask_blur = WholeNumber(
        load_default=DEFAULT_BLUR, validate=Range(0, 64),
        metadata={"description": (
            "Over how many pixels what is drawn fades into the input, inside of the masked part; 0: a hard edge."
        )},
    )  # fmt: skip
    mask_invert = Flag(load_default=False, metadata={"description": "true: the mask shows what is kept."})
    inpainting_fill = Text(
        load_default=ORIGINAL, validate=OneOf(FILLS),
        metadata={"description": (
            "What the masked part starts from, under noise: original, what is there; fill, the colours around it; "
            "latent_noise, noise alone; latent_nothing, an empty grey. What expand adds has at least the colours "
            "around it."
        )},
    )  # fmt: skip
    only_masked = Flag(
        load_default=False,
        metadata={"description": (
            "true: the masked part is drawn by itself, at W x H (the model's native size), and put back into the whole "
            "input at its place."
        )},
    )  # fmt: skip
    only_masked_padding = WholeNumber(
        load_default=DEFAULT_PADDING, validate=Range(0, 512),
        metadata={"description": "With only_masked: how many pixels around the masked part are drawn with it."},
    )  # fmt: skip
    expand = fields.Nested(
        ExpandSchema, load_default=None, allow_none=True,
        metadata={"description": (
            'Draw beyond the sides of init_img: {"left": 64, "top": 0, "right": 64, "bottom": 0}, in its pixels after '
            "upscale."
        )},
    )  # fmt: skip

    @validates_schema(skip_on_field_errors=False)
    def _redraws_a_part(self, data: Mapping[str, Any], **_: Any) -> None:
        if data.get("mask") or data.get("expand") or not {"mask", "expand"} <= data.keys():
            return
        defaults = {
            "mask_redraw": WHITE, "mask_blur": DEFAULT_BLUR, "mask_invert": False, "inpainting_fill": ORIGINAL,
            "only_masked": False, "only_masked_padding": DEFAULT_PADDING,
        }  # fmt: skip
        told = [name for name, default in defaults.items() if data.get(name, default) != default]
        if told:
            raise ValidationError({name: ["Is about a mask; send a mask too, or leave it out."] for name in told})
