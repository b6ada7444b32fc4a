"""What an `img2img` says of the part that is drawn anew, as fields of the native dialect."""

from collections.abc import Mapping
from typing import Any

from api.dialects.a1111.init_image import shape_asked, size_of_the_whole
from api.dialects.a1111.numbers import number
from api.dialects.a1111.refusals import is_off
from api.services import Services
from shared.catalogue.models import Model
from shared.errors import InvalidRequest
from shared.request.inpainting import DEFAULT_BLUR, FILL, LATENT_NOISE, LATENT_NOTHING, ORIGINAL
from shared.request.input_image import image_bytes
from shared.request.resizing import Resizing
from shared.request.sizes import size_for_output

_FILLS = (FILL, ORIGINAL, LATENT_NOISE, LATENT_NOTHING)


def is_masked(body: Mapping[str, Any]) -> bool:
    """Whether a part of the image is to be drawn anew; clients send all the other fields in any case."""
    return body.get("mask") not in (None, "")


def draws_the_part_alone(body: Mapping[str, Any]) -> bool:
    """Whether only the masked part is drawn."""
    return is_masked(body) and not is_off(body.get("inpaint_full_res"))


def inpainting_fields(body: Mapping[str, Any], services: Services) -> dict[str, Any]:
    """The fields of inpainting; none without a mask. Raises InvalidRequest by A1111's names."""
    if not is_masked(body):
        return {}
    fields = {
        "mask": _mask(body, services),
        "mask_blur": _blur(body),
        "mask_invert": not is_off(body.get("inpainting_mask_invert")),
        "inpainting_fill": _fill(body),
        "only_masked": draws_the_part_alone(body),
        "only_masked_padding": number(body.get("inpaint_full_res_padding")),
    }
    return {name: value for name, value in fields.items() if value is not None}


def size_of_the_part(fields: Mapping[str, Any], model: Model) -> dict[str, Any]:
    """Those of `fields` that say a size, where only a part is drawn: it is drawn at that size, as far as the model can.

    What is delivered has the size of the input.
    """
    width, height = fields.get("output_width"), fields.get("output_height")
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
        return {}
    drawn = size_for_output((width, height), model)
    return {"output_width": None, "output_height": None, "W": drawn[0], "H": drawn[1]}


def _mask(body: Mapping[str, Any], services: Services) -> str | bytes:
    """The mask, brought into shape as the image is."""
    mask = body["mask"]
    if not isinstance(mask, str):
        raise _wrong("mask", "Must be an image as base64 text.")
    fit, size = shape_asked(body)
    if fit is None or size is None or draws_the_part_alone(body):
        return mask
    limit, whole = services.settings.max_input_pixels, size_of_the_whole(body, services)
    try:
        same = services.resize_image(image_bytes(mask), limit, Resizing(*whole, of_mask=True))
        return services.resize_image(same.png, limit, Resizing(*size, fit=fit, of_mask=True)).png
    except ValueError as wrong:
        raise _wrong("mask", str(wrong)) from None


def _blur(body: Mapping[str, Any]) -> Any:
    """One for both directions: `mask_blur`, else that of `mask_blur_x` and `mask_blur_y`, which must agree."""
    blur, across, down = (number(body.get(name)) for name in ("mask_blur", "mask_blur_x", "mask_blur_y"))
    if blur is not None or across == down:
        return across if blur is None else blur
    across, down = DEFAULT_BLUR if across is None else across, DEFAULT_BLUR if down is None else down
    if across != down:
        raise _wrong("mask_blur_x", "Must be that of mask_blur_y: a seam has one width in all directions here.")
    return across


def _fill(body: Mapping[str, Any]) -> str | None:
    fill = number(body.get("inpainting_fill"))
    if fill is None:
        return None
    if isinstance(fill, bool) or fill not in range(len(_FILLS)):
        raise _wrong("inpainting_fill", "Must be 0 (fill), 1 (original), 2 (latent noise) or 3 (latent nothing).")
    return _FILLS[int(fill)]


def _wrong(field: str, sentence: str) -> InvalidRequest:
    return InvalidRequest("The request has a field that cannot be used.", {field: [sentence]})
