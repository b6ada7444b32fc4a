"""Where the image to start from stands in a body: `image`, `image[]`, or `images` with an `image_url` each."""

from collections.abc import Mapping, Sequence
from typing import Any

from api.dialects.openai.parameters import MOST_INPUTS
from api.dialects.openai.problems import Problems

NAMES = ("image", "image[]", "images")


def first_image(body: Mapping[str, Any], problems: Problems) -> Any:
    """The first image of the body: bytes, base64 text, or whatever stands in its place; None where there is none."""
    images = [image for name in NAMES for image in _listed(body.get(name))]
    if len(images) > MOST_INPUTS:
        problems.add("image", f"Must be at most {MOST_INPUTS} images.")
    if not images:
        return None
    first = images[0]
    if not isinstance(first, Mapping):
        return first
    if not isinstance(url := first.get("image_url"), str):
        problems.add("images", "Must have image_url, with the image itself as data:image/png;base64,... .")
        return ""
    return url


def _listed(value: Any) -> Sequence[Any]:
    if value is None or value == "" or value == b"":
        return []
    return value if isinstance(value, list) else [value]
