"""How a client wants its answer: as links or base64, at once or as it comes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.dialects.openai.parameters import (
    MOST_PARTIAL_IMAGES,
    RESPONSE_FORMATS,
    WITHOUT_EFFECT,
)
from api.dialects.openai.problems import Problems

FOREIGN_MODELS = re.compile(r"(?:gpt-image|dall-e|chatgpt-image)(?:-.*)?", re.DOTALL)
"""OpenAI's own models: clients with a fixed list of models can only ask for these, and get our default."""
_PRIVATE = "response_format: the links need your key, for results are private here (PRIVATE_RESULTS)."
_BASE64_ONLY = re.compile(r"(?:gpt-image|chatgpt-image).*", re.DOTALL)


@dataclass(frozen=True)
class Answering:
    """`url` and `b64`: which of the two each image has. `partial_images`: how many previews a stream shows at most.

    `warnings` are about fields of the body that never reach the job.
    """

    url: bool
    b64: bool
    stream: bool = False
    partial_images: int = 0
    warnings: tuple[str, ...] = ()


def answering(body: Mapping[str, Any], *, links_need_key: bool) -> Answering:
    """What the body says of its answer. Raises InvalidRequest.

    Without `response_format`, a client that names one of the models that answer with base64 alone upstream is given
    that, and every other one both, because there are clients that read one alone and cannot ask for it. Links that
    need a key (`links_need_key`) are given to those alone who ask for them.
    """
    problems = Problems()
    asked = body.get("response_format")
    if asked is not None and asked not in RESPONSE_FORMATS:
        problems.add("response_format", f"Must be one of: {', '.join(RESPONSE_FORMATS)}.")
    stream = False if body.get("stream") is None else body["stream"]
    if not isinstance(stream, bool):
        problems.add("stream", "Must be true or false.")
    partial = 0 if body.get("partial_images") is None else body["partial_images"]
    if isinstance(partial, bool) or not isinstance(partial, int) or not 0 <= partial <= MOST_PARTIAL_IMAGES:
        problems.add("partial_images", f"Must be a whole number from 0 to {MOST_PARTIAL_IMAGES}.")
    problems.raise_if_any()
    model = body.get("model")
    alone = isinstance(model, str) and _BASE64_ONLY.fullmatch(model) is not None
    return Answering(
        url=asked == "url" or (asked is None and not alone and not links_need_key),
        b64=asked != "url",
        stream=stream,
        partial_images=partial,
        warnings=(*_warnings(body), *([_PRIVATE] if asked == "url" and links_need_key else [])),
    )


def _warnings(body: Mapping[str, Any]) -> list[str]:
    said = [f"{name}: has no effect here." for name in WITHOUT_EFFECT if body.get(name) not in (None, "auto")]
    further = sum(_count(body.get(name)) for name in ("image", "image[]", "images")) - 1
    if further > 0:
        said.append(f"image: only the first one is drawn on; {further} more had no effect.")
    return said


def _count(images: Any) -> int:
    return len(images) if isinstance(images, list) else int(images is not None)
