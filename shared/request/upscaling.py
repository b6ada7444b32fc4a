"""`POST /upscale`: an image in, the same image larger; a job like any other, in which nothing is drawn."""

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, pre_load
from marshmallow.validate import Range

from shared.catalogue.samplers import DEFAULT_SAMPLER
from shared.catalogue.upscalers import FILTERS, LANCZOS, find_upscaler, unknown
from shared.errors import InvalidRequest, ModelUnavailable, TooCostly
from shared.request.cost import job_cost
from shared.request.fields import Base64Image, Number, Text
from shared.request.input_image import InputImage
from shared.request.intake import load_body, require_allowed_callback
from shared.request.limits import Limits
from shared.request.model import INIT_IMAGE, ImageRequest, Kind
from shared.request.schemas import FORMATS, GenerateSchema
from shared.request.sizes import objection_to_result
from shared.variants import ANY

MOST_TIMES = 8
_MODEL = "upscaler:"
_SHARED: Mapping[str, Any] = GenerateSchema._declared_fields


class UpscaleSchema(Schema):
    """An image made larger. Only `image` is required."""

    kind: Kind = "upscale"

    image = Base64Image(
        required=True, max_pixels=0,
        metadata={"description": "The image, as base64; data: prefix, line breaks, URL-safe: all are read."},
    )  # fmt: skip
    factor = Number(
        load_default=2.0, validate=Range(1, MOST_TIMES), metadata={"description": "How many times as wide and as high."}
    )
    upscaler = Text(load_default=LANCZOS, metadata={"description": "What enlarges it; see GET /upscalers."})
    format = _SHARED["format"]
    output_compression = _SHARED["output_compression"]
    variant = _SHARED["variant"]
    outdir = _SHARED["outdir"]
    skip_save = _SHARED["skip_save"]
    return_base64 = _SHARED["return_base64"]
    synchronous = _SHARED["synchronous"]
    callback_url = _SHARED["callback_url"]
    api_key = _SHARED["api_key"]

    def __init__(self, limits: Limits, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.limits = limits
        image = self.fields["image"]
        assert isinstance(image, Base64Image)  # noqa: S101 - tells mypy what the class body says
        image.max_pixels, image.decode = limits.max_input_pixels, limits.decode_image
        for field in self.fields.values():
            field.allow_none = field.allow_none or not field.required

    @classmethod
    def keys(cls) -> dict[str, str]:
        """What the wire calls each parameter, by the name that the code has for it."""
        return {name: field.data_key or name for name, field in cls._declared_fields.items()}

    @pre_load
    def _null_is_as_if_left_out(self, data: Any, **_: Any) -> Any:
        return {name: value for name, value in data.items() if value is not None or name == "image"}


def load_upscale(schema: UpscaleSchema, body: Mapping[str, Any]) -> tuple[ImageRequest, Mapping[str, InputImage]]:
    """Validate `body`; gives the request with every default filled in, and its image, as an input image.

    Raises InvalidRequest with every bad field, ModelUnavailable where no worker can use the upscaler, TooCostly, and
    CallbackRefused.
    """
    values = load_body(schema, body)
    limits, image = schema.limits, values["image"]
    upscaler = find_upscaler(limits.catalogue, values["upscaler"])
    if upscaler is None:
        raise InvalidRequest("No such upscaler.", {"upscaler": [unknown(limits.catalogue, values["upscaler"])]})
    if upscaler.why_not:
        raise ModelUnavailable(upscaler.why_not, {"upscaler": ["Ask for another one; see GET /upscalers."]})
    width, height = (round(side * values["factor"]) for side in (image.width, image.height))
    request = ImageRequest.of(
        values
        | {
            "kind": schema.kind, "model": f"{_MODEL}{upscaler.name}", "upscaler": upscaler.name, "config": "",
            "variant": values["variant"] or ANY, "prompts": ("",), "width": image.width, "height": image.height,
            "output_width": width, "output_height": height, "sampler": DEFAULT_SAMPLER, "steps": 1,
            "guidance_scale": 1.0, "seed": 0, "n_iter": 1, "n_samples": 1, "fixed_code": False, "skip_grid": True,
            "n_rows": 0, "outdir": "upscale-samples" if values["outdir"] is None else values["outdir"],
            "format": FORMATS[values["format"]], "inputs": (INIT_IMAGE,), "input_pixels": image.width * image.height,
        }
    )  # fmt: skip
    require_allowed_callback(request, limits)
    if objection := objection_to_result(request):
        raise InvalidRequest("The image would be too large to be stored.", {"factor": [objection]})
    if (cost := job_cost(request)) > limits.max_cost:
        raise TooCostly(
            f"The request costs {cost} (pixels of both images, and what a network adds); one job may cost "
            f"{limits.max_cost}.",
            {"factor": ["Ask for less."], "upscaler": [f"{' and '.join(FILTERS)} cost least."]},
        )
    return request, {INIT_IMAGE: image}
