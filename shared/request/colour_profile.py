"""Colours as a viewer shows them: the conversion from an image's own colour profile to sRGB."""

import io
from typing import cast

from PIL import Image, ImageChops, ImageCms

_MAX_PROFILE_BYTES = 8 * 1024 * 1024  # those of printers have a few megabytes
# by the colour space that a profile is for; what is not here, no image that we read can have
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
# a difference that no eye sees: most profiles are sRGB itself, and then the pixels stay as they are
_SAME = 2


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An RGB image of the same colours in sRGB; an RGB image may be changed in place.

    A profile that is broken, too large or of another colour space than the pixels is passed over.
    """
    if profile and len(profile) <= _MAX_PROFILE_BYTES:
        try:
            return _converted(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
        except Exception:  # noqa: S110 - lcms raises nearly anything on hostile profiles, and viewers ignore these
            pass
    return image.convert("RGB")


def _converted(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    mode = _MODES[profile.profile.xcolor_space.strip()]
    if image.mode in ("1", "P"):
        image = image.convert("RGB" if image.mode == "P" else "L")
    if image.mode == "L" and mode == "RGB":
        image = image.convert("RGB")
    if image.mode != mode:
        raise ValueError(f"a profile for {mode}, and pixels in {image.mode}")
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    if mode != "CMYK" and _changes_nothing(transform, mode):
        return image.convert("RGB")
    if mode == "RGB":
        ImageCms.applyTransform(image, transform, inPlace=True)
        return image
    return cast(Image.Image, ImageCms.applyTransform(image, transform))


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a sample of all colours stays what it is."""
    levels = range(0, 256, 17)
    sample = Image.new(mode, (len(levels) ** 2, len(levels)))
    if mode == "L":
        sample.putdata(list(range(256)) * (sample.width * sample.height // 256))
    else:
        sample.putdata([(red, green, blue) for blue in levels for green in levels for red in levels])
    after = cast(Image.Image, ImageCms.applyTransform(sample, transform))
    bands = ImageChops.difference(after, sample.convert("RGB")).split()
    return max(cast(tuple[int, int], band.getextrema())[1] for band in bands) <= _SAME
