"""ControlNets of a request: which networks follow which image, how much, and when."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from marshmallow import Schema, ValidationError, fields, validates_schema
from marshmallow.validate import Length, OneOf, Range

from shared.catalogue.controlnets import find_controlnet, objection_to
from shared.catalogue.models import Catalogue, Model
from shared.request.fields import Base64Image, Number, ShortList, Text
from shared.request.preprocessors import NONE, PREPROCESSORS
from shared.stored_values import read_value

MOST_CONTROLS = 3
"""ControlNets of one request."""
BALANCED, PROMPT, CONTROL = "balanced", "prompt", "control"
MODES: Mapping[str, str] = MappingProxyType({
    BALANCED: "Balanced",
    PROMPT: "My prompt is more important",
    CONTROL: "ControlNet is more important",
})  # fmt: skip
"""Whether the text or the control image counts for more, and what the A1111 web UI calls it."""
MOST_WEIGHT = 2.0
FIELD = "controlnet"
_LONGEST_NAME = 200


@dataclass(frozen=True, kw_only=True)
class Control:
    """One ControlNet of a request, by name; its image is the input image `image_name` of the request.

    What it says counts `weight` times (0 to 2), in the steps from the share `start` of them to the share `end`.
    """

    model: str
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mode: str = BALANCED
    preprocess: str = NONE

    def takes_part(self, step: int, steps: int) -> bool:
        """Whether it is asked in a step, of which the first is 0, as the stock pipelines decide.

        A sampler that chooses its own steps may make more than `steps`; these are part of the last.
        """
        before, after = step / steps < self.start, self.end < 1 and (step + 1) / steps > self.end
        return self.weight > 0 and not before and not after


class ControlSchema(Schema):
    """One ControlNet; see GET /controlnets."""

    model = Text(
        required=True, validate=Length(1, _LONGEST_NAME),
        metadata={"description": "Its name; see GET /controlnets. It must be made for models like the request's."},
    )  # fmt: skip
    image = Base64Image(
        required=True, max_pixels=0,
        metadata={"description": "The control image as base64; it is brought to the size that is drawn."},
    )  # fmt: skip
    weight = Number(
        load_default=1.0, allow_none=True, validate=Range(0, MOST_WEIGHT),
        metadata={"description": "How much it counts; 0 is off."},
    )  # fmt: skip
    start = Number(
        load_default=0.0, allow_none=True, validate=Range(0, 1),
        metadata={"description": "Share of the steps from which on it takes part."},
    )  # fmt: skip
    end = Number(
        load_default=1.0, allow_none=True, validate=Range(0, 1),
        metadata={"description": "Share of the steps up to which it takes part."},
    )  # fmt: skip
    mode = Text(
        load_default=BALANCED, allow_none=True, validate=OneOf(tuple(MODES)),
        metadata={"description": (
            "What counts for more: balanced; prompt, the text; control, the control image, which then changes only "
            "what is drawn and not what is avoided."
        )},
    )  # fmt: skip
    preprocess = Text(
        load_default=NONE, allow_none=True, validate=OneOf(tuple(PREPROCESSORS)),
        metadata={"description": (
            "What is made of the image first: none, it is stretched to the size; canny, its edges, white on black; "
            "invert, black lines on white become white on black; resize, it is cut to the shape instead of stretched."
        )},
    )  # fmt: skip

    @validates_schema
    def _has_steps(self, data: Mapping[str, Any], **_: Any) -> None:
        start, end = (data[name] if data[name] is not None else whole for name, whole in (("start", 0), ("end", 1)))
        if start >= end:
            raise ValidationError("Must be after start; 0 and 1 are all steps.", "end")


class ControlFields(Schema):
    """Follow control images."""

    controlnet = ShortList(
        fields.Nested(ControlSchema), load_default=(), validate=Length(max=MOST_CONTROLS),
        metadata={"description": (
            f"ControlNets to draw with, at most {MOST_CONTROLS}, as in "
            '`[{"model": "demo-outline", "image": "..."}]`; see GET /controlnets. Each may have `weight` (0 to 2), '
            "`start` and `end` (shares of the steps), `mode` (balanced, prompt, control) and `preprocess` (none, "
            "canny, invert, resize)."
        )},
    )  # fmt: skip


def image_name(place: int) -> str:
    """What the input image of the ControlNet at this place in the list is called, from 0."""
    return f"{FIELD}.{place}"


def place_of(name: str) -> int | None:
    """The place in the list of the ControlNet whose input image is called so; None for another image."""
    field, _, place = name.partition(".")
    return int(place) if field == FIELD and place.isdecimal() else None


def resolved_controls(loaded: Iterable[Mapping[str, Any]], catalogue: Catalogue) -> tuple[Control, ...]:
    """What the schema loaded, each under the name that the catalogue has for it."""
    # what is null has its default
    given = ({name: value for name, value in each.items() if value is not None} for each in loaded)
    return tuple(
        replace(control, model=found.name if (found := find_controlnet(catalogue, control.model)) else control.model)
        for control in (read_value(Control, each) for each in given)
    )


def objections_to_controls(loaded: Sequence[Any], catalogue: Catalogue, model: Model | None) -> list[str]:
    """What keeps those that the schema could read from being used with the model, in sentences."""
    problems = list[str]()
    for place, control in enumerate(loaded):
        name = control.get("model") if isinstance(control, Mapping) else None
        if isinstance(name, str) and (problem := objection_to(catalogue, name, model)):
            problems.append(f"[{place}].model: {problem}")
    return problems
