"""The bodies and answers of OpenAI's dialect, for the API document."""

from typing import Any

from marshmallow import Schema, fields

from api.dialects.openai.operations import Operation
from api.dialects.openai.parameters import (
    BACKGROUNDS,
    FIDELITY_STRENGTHS,
    MOST_IMAGES,
    MOST_PARTIAL_IMAGES,
    QUALITY_STEPS,
    RESPONSE_FORMATS,
)
from api.document import EXAMPLE_IMAGE

_DATA_URL = f"data:image/png;base64,{EXAMPLE_IMAGE}"
_OTHERS = "Every parameter of POST {native} is accepted too, by its own name or by those of other servers of this kind."


class OpenAIError(Schema):
    """What stands behind `error`."""

    message = fields.String(required=True, metadata={"description": "A sentence for a person."})
    type = fields.String(required=True)
    param = fields.String(required=True, allow_none=True, metadata={"description": "The first field it is about."})
    code = fields.String(required=True, allow_none=True, metadata={"description": "A stable word for a program."})


class OpenAIErrorAnswer(Schema):
    """Every error below /v1."""

    error = fields.Nested(OpenAIError, required=True)


class OpenAIImage(Schema):
    """One image, as base64 or as a link, or as both; see response_format."""

    b64_json = fields.String()
    url = fields.String()
    seed = fields.Integer()


class OpenAIImagesAnswer(Schema):
    """The images of a job, and what they were made with."""

    created = fields.Integer(required=True, metadata={"description": "When it was done, in seconds since 1970."})
    data = fields.List(fields.Nested(OpenAIImage), required=True)
    background = fields.String()
    output_format = fields.String()
    quality = fields.String(metadata={"description": "The quality of that many steps, if there is one."})
    size = fields.String(metadata={"description": "Width and height that were made, such as 512x512."})
    id = fields.String(metadata={"description": "The job's id, for /status, /cancel and /download."})
    model = fields.String()
    warnings = fields.List(fields.String(), metadata={"description": "What was done otherwise than asked."})


class OpenAIModel(Schema):
    """One model."""

    id = fields.String(required=True)
    object = fields.String(required=True)
    created = fields.Integer(required=True)
    owned_by = fields.String(required=True)


class OpenAIModelsAnswer(Schema):
    """The models that can be drawn with now."""

    object = fields.String(required=True)
    data = fields.List(fields.Nested(OpenAIModel), required=True)


def request_body(operation: Operation) -> dict[str, Any]:
    """The `requestBody` of one operation."""
    json = {"schema": _schema(operation, as_form=False), "example": _example(operation)}
    content = {"application/json": json}
    if operation.takes_image:
        content["multipart/form-data"] = {"schema": _schema(operation, as_form=True), "example": _example(operation)}
    return {"required": True, "content": content}


def _example(operation: Operation) -> dict[str, Any]:
    image = {"image": _DATA_URL} if operation.takes_image else {}
    prompt = {"prompt": "a blue star on a white background"} if operation.needs_prompt else {}
    return {**image, **prompt, "n": 1, "size": "auto", "response_format": "b64_json"}


def _schema(operation: Operation, *, as_form: bool) -> dict[str, Any]:
    native = "/img2img" if operation.takes_image else "/generate"
    properties = _PROPERTIES | (_IMAGE_PROPERTIES if operation.takes_image else {})
    if as_form:
        file = {"type": "string", "format": "binary"}
        properties = properties | {"image": file, "image[]": {"type": "array", "items": file}}
    needed = ["prompt"] if operation.needs_prompt else []
    return {
        "type": "object",
        "description": _OTHERS.format(native=native),
        "properties": properties,
        **({"required": needed} if needed else {}),
    }


def _choices(values: Any, about: str) -> dict[str, Any]:
    return {"type": "string", "enum": [*values], "nullable": True, "description": about}


_PROPERTIES: dict[str, Any] = {
    "prompt": {"type": "string", "description": "What to draw."},
    "model": {
        "type": "string", "nullable": True,
        "description": "A model of GET /v1/models or an alias; null and OpenAI's own names are the default one.",
    },
    "n": {"type": "integer", "minimum": 1, "maximum": MOST_IMAGES, "nullable": True, "description": "Images."},
    "size": {
        "type": "string", "nullable": True,
        "description": "auto, or width and height such as 1024x1024; what the model cannot draw is enlarged.",
    },
    "quality": _choices(QUALITY_STEPS, "How many denoising steps; steps goes before it."),
    "response_format": _choices(RESPONSE_FORMATS, "Left out: both, or base64 alone for models named gpt-image*."),
    "output_format": _choices(("png", "jpeg", "webp"), "File format of the images."),
    "output_compression": {
        "type": "integer", "minimum": 0, "maximum": 100, "nullable": True, "description": "Quality of jpeg and webp.",
    },
    "background": _choices(BACKGROUNDS, "Images have no transparent parts."),
    "stream": {"type": "boolean", "nullable": True, "description": "Answer with server-sent events."},
    "partial_images": {
        "type": "integer", "minimum": 0, "maximum": MOST_PARTIAL_IMAGES, "nullable": True,
        "description": "How many previews a stream has at most.",
    },
    "negative_prompt": {"type": "string", "description": "What to keep away from."},
    "seed": {"type": "integer", "nullable": True, "description": "Image k uses seed + k."},
    "steps": {"type": "integer", "description": "Denoising steps; also num_inference_steps."},
    "guidance_scale": {"type": "number", "description": "Guidance scale; also cfg_scale."},
    "sampler": {"type": "string", "description": "A sampler of GET /samplers; also sampler_name and scheduler."},
}  # fmt: skip
_IMAGE_PROPERTIES: dict[str, Any] = {
    "image": {"type": "string", "description": "The image to start from: base64, or data:image/png;base64,..."},
    "strength": {"type": "number", "description": "How far to leave the image, from 0 to 1."},
    "input_fidelity": _choices(FIDELITY_STRENGTHS, "high is a strength of 0.5, low of 0.75."),
}
