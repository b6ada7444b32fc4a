"""One marshmallow class per request: every parameter declared once, with type, bounds, default and description.

A field has the name that the code uses (that of `SamplingParams` or `ImageRequest`); where the wire has another name,
that is its `data_key`.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from marshmallow import ValidationError, pre_load, validates_schema
from marshmallow.fields import Field, List, Nested
from marshmallow.validate import Length, OneOf, Range

from shared.catalogue.models import DEFAULT_ALIAS
from shared.catalogue.samplers import SAMPLERS, canonical_name
from shared.catalogue.schedules import canonical_schedule
from shared.request.adapters import AdaptersSchema, objection_to_accelerator, resolve_loras, sound
from shared.request.choices import choose_model, choose_schedule
from shared.request.control import ControlFields, objections_to_controls
from shared.request.decoders import DecoderFields, decoder_problems
from shared.request.defaults import ACCELERATOR, with_accelerator, with_defaults
from shared.request.drawing_fields import DrawingFields
from shared.request.enlarging import UpscalerFields, upscaler_problems
from shared.request.fields import (
    Base64Image,
    Base64Mask,
    CallbackAddress,
    Flag,
    Folder,
    PromptFileName,
    Seed,
    Text,
    WholeNumber,
    WholePair,
)
from shared.request.hires_fields import HiresFields
from shared.request.hires_plan import chosen, most_pixels
from shared.request.image_to_image import ImageFields
from shared.request.inpainting import InpaintingFields
from shared.request.limits import Limits
from shared.request.model import Kind
from shared.request.seeds import MAX_SEED
from shared.request.sizes import MIN_SIZE, objection_to_size
from shared.request.titles import TITLES
from shared.variants import REQUEST_TYPES

FORMATS = {"png": "png", "jpg": "jpg", "jpeg": "jpg", "webp": "webp"}
DEVICES = ("auto", "cuda", "cpu", "mps", "xpu", "hpu")
MOST_TOLD = 16384
"""Pixels of a side that a model is told of."""
MOST_DELIVERED = 2**31 - 1
"""Pixels of a side of a result: what any format can hold."""
PRECISIONS = ("autocast", "mixed", "full")


def _about(description: str) -> dict[str, str]:
    return {"description": description}


def _within(field: Field[Any]) -> Iterable[Field[Any]]:
    """The fields of the objects that a list of them holds."""
    inner = field.inner if isinstance(field, List) else None
    return inner.schema.fields.values() if isinstance(inner, Nested) else ()


class CommonSchema(DrawingFields):
    """What every request has. The fields of a concern of its own are in a schema beside this one."""

    kind: Kind

    variant = Text(
        data_key="type", load_default=None, allow_none=True, validate=OneOf(REQUEST_TYPES),
        metadata=_about("Requested worker variant. A CPU worker serves both; null: whichever variant is free."),
    )  # fmt: skip
    seed = Seed(
        load_default=None, allow_none=True,
        metadata=_about(
            f"Seed from 0 to {MAX_SEED}; image k uses seed + k. null, false or -1: a random one, which is reported."
        ),
    )  # fmt: skip
    n_iter = WholeNumber(
        load_default=1, validate=Range(1, 64), metadata=_about("Tasks of the job; each may run on another worker.")
    )
    n_samples = WholeNumber(load_default=1, validate=Range(1, 64), metadata=_about("Images of each task."))
    height = WholeNumber(
        data_key="H", load_default=None, allow_none=True, validate=Range(MIN_SIZE),
        metadata=_about(
            "Height in pixels, a multiple of 8; GET /models says how many pixels W x H may have. null: the model's "
            "native size, or what keeps the shape of init_img."
        ),
    )  # fmt: skip
    width = WholeNumber(
        data_key="W", load_default=None, allow_none=True, validate=Range(MIN_SIZE),
        metadata=_about(
            "Width in pixels, a multiple of 8; GET /models says how many pixels W x H may have. null: the model's "
            "native size, or what keeps the shape of init_img."
        ),
    )  # fmt: skip
    original_size = WholePair(
        1, MOST_TOLD, load_default=None, allow_none=True,
        metadata=_about(
            "For Stable Diffusion XL: [height, width] in pixels of the original that the image is to look like, where "
            "small ones look coarse. null: those of the image."
        ),
    )  # fmt: skip
    crops_coords_top_left = WholePair(
        0, MOST_TOLD, load_default=(0, 0),
        metadata=_about(
            "For Stable Diffusion XL: [top, left] in pixels of where the image was cut out of it; [0, 0] centres what "
            "is drawn."
        ),
    )  # fmt: skip
    target_size = WholePair(
        1, MOST_TOLD, load_default=None, allow_none=True,
        metadata=_about(
            "For Stable Diffusion XL: [height, width] in pixels that the model is told it draws. null: those of the "
            "image."
        ),
    )  # fmt: skip
    latent_channels = WholeNumber(
        data_key="C", load_default=None, allow_none=True,
        metadata=_about("Latent channels; must be the model's (4) or null."),
    )  # fmt: skip
    downsampling_factor = WholeNumber(
        data_key="f", load_default=None, allow_none=True,
        metadata=_about("Down-sampling factor; must be the model's (8) or null."),
    )  # fmt: skip
    skip_grid = Flag(load_default=True, metadata=_about("false: also make one grid of all images."))
    n_rows = WholeNumber(
        load_default=0, validate=Range(0, 64), metadata=_about("Images in a row of the grid; 0: n_samples.")
    )
    skip_save = Flag(
        load_default=False,
        metadata=_about("false: keep the images in outdir for good; true: they are deleted when the result expires."),
    )
    outdir = Folder(load_default=None, allow_none=True, metadata=_about("Folder under the output root."))
    return_base64 = Flag(
        load_default=False, metadata=_about("true: answer JSON with base64 images; false: the image itself.")
    )
    synchronous = Flag(
        data_key="synchronous_request", load_default=False,
        metadata=_about("true: wait and answer with the result itself."),
    )  # fmt: skip
    format = Text(load_default="png", validate=OneOf(tuple(FORMATS)), metadata=_about("File format of the images."))
    output_width = WholeNumber(
        load_default=None, allow_none=True, validate=Range(8, MOST_DELIVERED),
        metadata=_about(
            "Width of the delivered images, with output_height: they are generated at W and H and resized by upscaler. "
            "Without W and H, at the largest size of that shape that the model can. null: as generated."
        ),
    )  # fmt: skip
    output_height = WholeNumber(
        load_default=None, allow_none=True, validate=Range(8, MOST_DELIVERED),
        metadata=_about("Height of the delivered images, with output_width."),
    )  # fmt: skip
    output_compression = WholeNumber(
        load_default=None, allow_none=True, validate=Range(0, 100),
        metadata=_about("Quality of jpg and webp files, 100 is the best. null: 95."),
    )  # fmt: skip
    fixed_code = Flag(
        load_default=False,
        metadata=_about("true: every image of the request starts from the same noise, that of its seed."),
    )
    noise_seed = Seed(
        load_default=None, allow_none=True,
        metadata=_about("Seed of the noise that every image starts from. null: each image's own seed."),
    )  # fmt: skip
    model = Text(data_key="ckpt", load_default=DEFAULT_ALIAS, metadata=_about("Model name or alias; see GET /models."))
    config = Text(
        load_default=None, allow_none=True,
        metadata=_about("Inference yaml of older clients; must fit the model's family. null: the model's own."),
    )  # fmt: skip
    device = Text(
        load_default=None, allow_none=True, validate=OneOf(DEVICES),
        metadata=_about("Requested option: device to run on. null: the worker's own."),
    )  # fmt: skip
    precision = Text(
        load_default=None, allow_none=True, validate=OneOf(PRECISIONS),
        metadata=_about("Requested option: arithmetic precision. null: the worker's own."),
    )  # fmt: skip
    unet_bs = WholeNumber(
        load_default=None, allow_none=True, validate=Range(1, 64),
        metadata=_about("Requested option: most batch items in one forward pass. null: the worker decides."),
    )  # fmt: skip
    turbo = Flag(
        load_default=None, allow_none=True,
        metadata=_about("Requested option: keep all parts of the model on the device. null: the worker decides."),
    )  # fmt: skip
    prompt_file = PromptFileName(
        data_key="from-file", load_default=None, allow_none=True, folder=Path(), max_chars=0,
        metadata=_about("Name of a text file in the prompts folder, one prompt a line; false: none."),
    )  # fmt: skip
    callback_url = CallbackAddress(
        load_default=None, allow_none=True,
        metadata=_about("URL that gets the answer of /status when the job has ended; see docs/clients.md."),
    )  # fmt: skip
    plms = Flag(load_default=False, metadata=_about("Older way to ask for sampler plms."))
    laion400m = Flag(
        load_default=False, validate=OneOf((False,), error="Must be false: the LAION-400M model is not supported."),
        metadata=_about("Of an older template; must be false."),
    )  # fmt: skip
    api_key = Text(
        load_default=None, allow_none=True,
        metadata=_about("The key; may also come as header X-API-Key or Authorization: Bearer."),
    )  # fmt: skip

    def __init__(self, limits: Limits, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.limits = limits
        self.fields["prompt"].validate = Length(max=limits.max_prompt_chars)
        self.fields["negative_prompt"].validate = Length(max=limits.max_prompt_chars)
        for name, field in self.fields.items():
            if title := TITLES.get(name):
                field.metadata = {**field.metadata, "title": title}
            field.allow_none = field.allow_none or not field.required
            for each in (field, *_within(field)):
                if isinstance(each, Base64Image):
                    each.max_pixels = limits.max_input_pixels
                    each.decode = limits.decode_mask if isinstance(each, Base64Mask) else limits.decode_image
            # marshmallow collected the validators before the limits were known
            if field.validate is not None:
                field.validators = [field.validate]  # type: ignore[list-item]
        prompt_file = self.fields["prompt_file"]
        assert isinstance(prompt_file, PromptFileName)  # noqa: S101 - tells mypy what the class body says
        prompt_file.folder, prompt_file.max_chars = limits.prompts_dir, limits.max_prompt_chars

    @classmethod
    def keys(cls) -> dict[str, str]:
        """What the wire calls each parameter, by the name that the code has for it."""
        return {name: field.data_key or name for name, field in cls._declared_fields.items()}

    @pre_load
    def _null_is_as_if_left_out(self, data: Any, **_: Any) -> Any:
        """Clients that fill a form send null for what was not filled in."""
        optional = {field.data_key or name for name, field in self.fields.items() if not field.required}
        told = with_accelerator(data)
        given = {name: value for name, value in told.items() if value is not None or name not in optional}
        return with_defaults(given, self.limits.catalogue)

    @validates_schema(skip_on_field_errors=False)
    def _fits_the_model(self, data: Mapping[str, Any], **_: Any) -> None:
        """Everything that depends on the model asked for, so that all bad fields are named at once."""
        problems: dict[str, list[str]] = {}
        model = self.limits.model(data["model"]) if "model" in data else None
        if "model" in data and model is None:
            problems["ckpt"] = [choose_model(self.limits.catalogue, data["model"])]
        # without a model, what depends on one is judged for the default
        facts = (model or self.limits.catalogue.default).facts
        sides = {key: data[side] for side, key in (("height", "H"), ("width", "W")) if data.get(side)}
        about_sides = {
            key: [f"Must be a multiple of {facts.size_step}."] for key, size in sides.items() if size % facts.size_step
        }
        if model and sides:
            from_image = self.kind == "img2img"
            # of image to image the other side follows from the input
            other = MIN_SIZE if from_image else model.usual_size
            most = most_pixels(chosen(data.get("hires"), model, from_image), model)
            if objection := objection_to_size(sides.get("W", other), sides.get("H", other), model, most):
                about_sides = {key: [*about_sides.get(key, ()), objection] for key in sides}
        problems |= about_sides
        if data.get("latent_channels") not in (None, facts.latent_channels):
            problems["C"] = [f"Must be {facts.latent_channels}, the latent channels of this model."]
        if data.get("downsampling_factor") not in (None, facts.downsampling_factor):
            problems["f"] = [f"Must be {facts.downsampling_factor}, the down-sampling factor of this model."]
        config = data.get("config")
        if model and config is not None and not model.accepts_config(config):
            problems["config"] = [f"Does not fit model '{model.name}'; use {' or '.join(model.configs)}, or null."]
        problems.update(decoder_problems(data, self.limits.catalogue, model))
        problems.update(upscaler_problems(data, self.limits.catalogue))
        if (loras := sound(data.get("loras", ()))) and (about := resolve_loras(loras, self.limits.catalogue, model)[1]):
            problems["loras"] = list(about)
        if (
            model
            and (asked := data.get(ACCELERATOR))
            and (sentence := objection_to_accelerator(asked, loras, self.limits.catalogue, model))
        ):
            problems[ACCELERATOR] = [sentence]
        if about := objections_to_controls(data.get("controlnet", ()), self.limits.catalogue, model):
            problems["controlnet"] = list(about)
        if problems:
            raise ValidationError(problems)

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _agrees_with_itself(self, data: Mapping[str, Any], original: Mapping[str, Any], **_: Any) -> None:
        if (
            data.get("plms")
            and original.get("sampler") is not None
            and canonical_name(data.get("sampler", "plms")) != "plms"
        ):
            raise ValidationError("Is true, but sampler asks for another one; leave one of them out.", "plms")

    @validates_schema(skip_on_field_errors=False)
    def _has_a_schedule_of_the_sampler(self, data: Mapping[str, Any], **_: Any) -> None:
        name = "plms" if data.get("plms") else canonical_name(data.get("sampler", ""))
        if name is None or "schedule" not in data:
            return
        if not SAMPLERS[name].can(canonical_schedule(data["schedule"])):
            raise ValidationError(choose_schedule(name), "schedule")

    @validates_schema(skip_on_field_errors=False)
    def _knows_its_steps(self, data: Mapping[str, Any], **_: Any) -> None:
        name = canonical_name(data.get("sampler", ""))
        if data.get("guidance_until", 1) == 1 or data.get("plms") or name is None:
            return
        if SAMPLERS[name].evaluations_per_step is None:
            text = f"The sampler {name} chooses its own steps, so no share of them is known: leave it at 1."
            raise ValidationError(text, "guidance_until")

    @validates_schema(skip_on_field_errors=False)
    def _says_one_output_size(self, data: Mapping[str, Any], **_: Any) -> None:
        given = [side for side in ("output_width", "output_height") if data.get(side) is not None]
        if len(given) == 1:
            raise ValidationError("Give output_width and output_height, or none of them.", given[0])
        if given and data.get("post_upscale", 1) != 1:
            text = "Is another size than post_upscale asks for; leave one of them out."
            raise ValidationError({side: [text] for side in given})

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _has_a_prompt(self, data: Mapping[str, Any], original: Mapping[str, Any], **_: Any) -> None:
        if "prompt_file" in data and data["prompt_file"] is None and original.get("prompt") is None:
            raise ValidationError("Missing data for required field.", "prompt")


class GenerateSchema(ControlFields, HiresFields, AdaptersSchema, DecoderFields, UpscalerFields, CommonSchema):
    """Text to image. Only `prompt` is required. (The fields of the last schema above come first.)"""

    kind: Kind = "generate"


class Img2ImgSchema(InpaintingFields, ImageFields, GenerateSchema):
    """Image to image. `prompt` and `init_img` are required."""

    kind: Kind = "img2img"


SCHEMAS: dict[Kind, type[GenerateSchema]] = {schema.kind: schema for schema in (GenerateSchema, Img2ImgSchema)}
