"""The parameter `hires` on the wire."""

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, validates_schema
from marshmallow.validate import Length, Range

from shared.catalogue.models import MOST_STEPS
from shared.request.fields import Number, Text, WholeNumber
from shared.request.hires import AUTO, DEFAULT_UPSCALER, LATENT, OFF, UPSCALERS, AskedHires
from shared.request.model import Kind

MOST_SCALE = 8
MOST_SIDE = 65_536
_LONGEST_NAME = 1000
_WAYS = ("scale", "width and height", "first_width and first_height")
_WANTED = f"Must be '{AUTO}', '{OFF}' (or false), or an object with {', or '.join(_WAYS)}."
_STRENGTHS = ", ".join(f"{upscaler.strength} with {name}" for name, upscaler in UPSCALERS.items())
_ABOUT = (
    "Draws the image small first, enlarges it and draws it again, so that it shows things once and not several times. "
    f"`{AUTO}`: where W and H are beyond what the model draws without that; `{OFF}`: never. Or an object. Its "
    "`scale` (1 to 8), or `width` and `height`, say how large the image becomes, and W and H are those of the first "
    "pass; or else `first_width` and `first_height` are these, and W and H those of the image. `steps` (null: "
    f"ddim_steps), of which the share `strength` (null: {_STRENGTHS}) runs in the second pass, and `upscaler` "
    f"({DEFAULT_UPSCALER}, {LATENT}, or a name of GET /upscalers) may be beside it. null: `{AUTO}` or `{OFF}`, as the "
    "model has it; see GET /models."
)


class _AskedSchema(Schema):
    """The object."""

    scale = Number(load_default=None, allow_none=True, validate=Range(1, MOST_SCALE))
    width = WholeNumber(load_default=None, allow_none=True, validate=Range(8, MOST_SIDE))
    height = WholeNumber(load_default=None, allow_none=True, validate=Range(8, MOST_SIDE))
    first_width = WholeNumber(load_default=None, allow_none=True, validate=Range(8, MOST_SIDE))
    first_height = WholeNumber(load_default=None, allow_none=True, validate=Range(8, MOST_SIDE))
    steps = WholeNumber(load_default=None, allow_none=True, validate=Range(1, MOST_STEPS))
    strength = Number(load_default=None, allow_none=True, validate=Range(0, 1, min_inclusive=False))
    upscaler = Text(load_default=DEFAULT_UPSCALER, validate=Length(1, _LONGEST_NAME))

    @validates_schema
    def _says_one_size(self, data: Mapping[str, Any], **_: Any) -> None:
        for one, other in (("width", "height"), ("first_width", "first_height")):
            if (data[one] is None) != (data[other] is None):
                raise ValidationError("Give both sides, or none.", one if data[one] is None else other)
        given = [data["scale"], data["width"], data["first_width"]]
        if sum(each is not None for each in given) != 1:
            raise ValidationError(f"Say one of {', '.join(_WAYS)}.")


class HiresField(fields.Field[Any]):
    """`auto`, `off`, false, or an object; loads as `auto`, `off` or an `AskedHires`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.metadata = {**self.metadata, "oneOf": _documented()}

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if value is False or value == OFF:
            return OFF
        if value == AUTO:
            return AUTO
        if not isinstance(value, dict):
            raise ValidationError(_WANTED)
        # what is null is as if left out, as it is beside it
        given = {name: each for name, each in value.items() if each is not None}
        try:
            return AskedHires(**_AskedSchema().load(given))
        except ValidationError as wrong:
            raise ValidationError(_sentences(wrong)) from None


def _sentences(wrong: ValidationError) -> list[str]:
    told = []
    for name, texts in wrong.messages_dict.items():
        before = "" if name == "_schema" else f"{str(name)[:50]}: "
        told += [f"{before}{text}" for text in (texts if isinstance(texts, list) else [texts])]
    return told


def _documented() -> list[dict[str, Any]]:
    """As the API document has it."""
    side = {"type": "integer", "minimum": 8, "maximum": MOST_SIDE, "nullable": True}
    asked = {
        "scale": {"type": "number", "minimum": 1, "maximum": MOST_SCALE, "nullable": True},
        **dict.fromkeys(("width", "height", "first_width", "first_height"), side),
        "steps": {"type": "integer", "minimum": 1, "maximum": MOST_STEPS, "nullable": True},
        "strength": {
            "type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 1, "nullable": True,
        },
        "upscaler": {"type": "string", "minLength": 1, "maxLength": _LONGEST_NAME, "default": DEFAULT_UPSCALER},
    }  # fmt: skip
    return [
        {"type": "string", "enum": [AUTO, OFF, None], "nullable": True},
        {"type": "boolean", "enum": [False]},
        {"type": "object", "properties": asked, "additionalProperties": False},
    ]


class HiresFields(Schema):
    """What requests have of it."""

    kind: Kind

    hires = HiresField(load_default=None, allow_none=True, metadata={"description": _ABOUT})

    @validates_schema(skip_on_field_errors=False)
    def _draws_from_noise(self, data: Mapping[str, Any], **_: Any) -> None:
        if self.kind != "generate" and data.get("hires") not in (None, OFF):
            raise ValidationError("Is for text to image; an image to image has one pass: leave it out.", "hires")

    @validates_schema(skip_on_field_errors=False)
    def _says_w_and_h(self, data: Mapping[str, Any], **_: Any) -> None:
        asked = data.get("hires")
        is_first = isinstance(asked, AskedHires) and not asked.first_is_said
        if is_first and data.get("output_width") and not (data.get("width") and data.get("height")):
            text = "Say W and H too, those of the first pass: they do not follow from output_width and output_height."
            raise ValidationError(text, "hires")
