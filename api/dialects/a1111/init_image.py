"""The image that an `img2img` starts from, in the shape of the image that is asked for."""

from collections.abc import Mapping
from typing import Any

from api.dialects.a1111.parameters import size_asked
from api.services import Services
from shared.errors import InvalidRequest
from shared.request.hires import LATENT
from shared.request.input_image import image_bytes
from shared.request.resizing import Fit, Resizing

_FIELD = "init_images"
NOT_FOUND = "Init image not found"
_STRETCH, _LATENT = 0, 3
_FITS: Mapping[int, Fit] = {1: "crop", 2: "fill"}


def init_image(body: Mapping[str, Any], services: Services, *, as_it_is: bool = False) -> str | bytes:
    """The image as the schema takes it, in the shape that is asked for, or `as_it_is`.

    Raises InvalidRequest when there is none, or more than one.
    """
    image = _given(body)
    fit, size = shape_asked(body)
    if fit is None or size is None or as_it_is:
        return image
    try:
        return services.resize_image(
            init_image_bytes(body), services.settings.max_input_pixels, Resizing(*size, fit=fit)
        ).png
    except ValueError as wrong:
        raise _unusable(wrong) from None


def init_image_bytes(body: Mapping[str, Any]) -> bytes:
    """The bytes of its file. Raises InvalidRequest likewise, ValueError where it is no base64."""
    return image_bytes(_given(body))


def size_of_the_whole(body: Mapping[str, Any], services: Services) -> tuple[int, int]:
    """(width, height) of the image in pixels. Raises InvalidRequest where there is none that can be read."""
    try:
        image = services.decode_image(init_image_bytes(body), services.settings.max_input_pixels)
    except ValueError as wrong:
        raise _unusable(wrong) from None
    return image.width, image.height


def shape_asked(body: Mapping[str, Any]) -> tuple[Fit | None, tuple[int, int] | None]:
    """How images are brought into which size, (width, height); None: stretched, as they are by themselves."""
    return _fit(body), size_asked(body)


def latent_fields(body: Mapping[str, Any], *, of_a_part: bool) -> dict[str, Any]:
    """The field by which the image's latents become as large as what is drawn, where that is asked for.

    Raises InvalidRequest where a mask is to be put over them.
    """
    if not _is_latent(body.get("resize_mode")):
        return {}
    if of_a_part:
        text = (
            "3 is for an image that is drawn on as a whole; with a mask it must be 0 (stretch), 1 (crop) or 2 (fill)."
        )
        raise InvalidRequest("The image cannot be brought into shape.", {"resize_mode": [text]})
    return {"resize_input": LATENT}


def _is_latent(mode: Any) -> bool:
    return isinstance(mode, int) and not isinstance(mode, bool) and mode == _LATENT


def _unusable(wrong: ValueError) -> InvalidRequest:
    return InvalidRequest("The image cannot be used.", {_FIELD: [str(wrong)]})


def _given(body: Mapping[str, Any]) -> str:
    images = body.get(_FIELD)
    images = [images] if isinstance(images, str) else images
    if not isinstance(images, list) or not images or not images[0]:
        raise InvalidRequest(f"{NOT_FOUND}.", {_FIELD: ["Must be a list with an image as base64 text."]})
    if len(images) > 1:
        raise InvalidRequest("Only one image can be drawn on.", {_FIELD: [f"Has {len(images)} images; send one."]})
    image = images[0]
    if not isinstance(image, str):
        raise InvalidRequest("The image cannot be read.", {_FIELD: ["Must be an image as base64 text."]})
    return image


def _fit(body: Mapping[str, Any]) -> Fit | None:
    """How the image is brought into shape; None: stretched, as it is by itself, and as its latents are."""
    mode = body.get("resize_mode")
    if mode is None or (mode == _STRETCH and not isinstance(mode, bool)) or _is_latent(mode):
        return None
    fit = _FITS.get(mode) if isinstance(mode, int) and not isinstance(mode, bool) else None
    if fit is None:
        raise InvalidRequest(
            "The image cannot be brought into shape.",
            {"resize_mode": ["Must be 0 (stretch), 1 (crop), 2 (fill) or 3 (stretch the latents)."]},
        )
    return fit
