"""What enlarges the images of a drawing request, between its passes and when they are delivered, by name."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from marshmallow import Schema
from marshmallow.validate import Length

from shared.catalogue.models import Catalogue
from shared.catalogue.upscalers import FILTERS, LANCZOS, find_upscaler, objection_to
from shared.request.fields import Text
from shared.request.hires import AskedHires, objection_to_upscaler, upscaler_called
from shared.request.model import ImageRequest

_LONGEST_NAME = 1000


class UpscalerFields(Schema):
    """The field `upscaler`."""

    upscaler = Text(
        load_default=LANCZOS, validate=Length(1, _LONGEST_NAME),
        metadata={"description": (
            "What makes the delivered images larger than they are drawn, where output_width and output_height, or "
            f"post_upscale, ask for that: {', '.join(FILTERS)}, or a network; see GET /upscalers."
        )},
    )  # fmt: skip


def upscaler_problems(data: Mapping[str, Any], catalogue: Catalogue) -> dict[str, list[str]]:
    """What keeps the upscalers that are asked for from being used: a sentence a field."""
    problems, hires = {}, data.get("hires")
    if isinstance(hires, AskedHires) and (wrong := objection_to_upscaler(hires.upscaler, catalogue)):
        problems["hires"] = [f"upscaler: {wrong}"]
    if "upscaler" in data and (wrong := objection_to(catalogue, data["upscaler"])):
        problems["upscaler"] = [wrong]
    return problems


def named_hires(asked: Any, catalogue: Catalogue) -> Any:
    """What a request asks for as `hires`, its upscaler under the name that the catalogue has for it."""
    if not isinstance(asked, AskedHires):
        return asked
    return replace(asked, upscaler=upscaler_called(asked.upscaler, catalogue) or asked.upscaler)


def named_upscaler(asked: str, catalogue: Catalogue) -> str:
    """The upscaler that delivers, likewise."""
    found = find_upscaler(catalogue, asked)
    return found.name if found else asked


def about_upscaler(request: ImageRequest) -> tuple[str, ...]:
    """What is to be said of the upscaler that delivers the images of a request."""
    if request.upscaler == LANCZOS:
        return ()
    if request.result_size == request.drawn_size:
        return ("upscaler: it is not used, for the images are delivered as large as they are drawn.",)
    if request.upscaler not in FILTERS and request.delivering_network is None:
        return (f"upscaler: a network only enlarges; the images are made smaller by {FILTERS[LANCZOS]}.",)
    return ()
