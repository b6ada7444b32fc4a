"""The views of `/controlnet`: what A1111's ControlNet extension offers its clients."""

import base64
from collections.abc import Mapping
from typing import Any

from flask import Response, jsonify, request
from flask_smorest import Blueprint

from api.dialects.a1111 import bodies
from api.dialects.a1111.control_units import MODULES, module_of
from api.dialects.a1111.numbers import number
from api.dialects.a1111.schemas import OBJECT, READING_ENDS, SENDING_ENDS, ends, inline_answer
from api.document import KEY
from api.services import Services
from shared.catalogue.controlnets import why_not
from shared.catalogue.kinds import CONTROLNET
from shared.catalogue.models import OtherFile
from shared.errors import InvalidRequest
from shared.request.input_image import image_bytes
from shared.request.preprocessors import LEAST_SIDE, MOST_SIDE

PREFIX = "/controlnet"
_VERSION = 3
"""Of the extension's API, whose units we read."""
_DEFAULT_SIDE = 512
_MOST_IMAGES = 8


def controlnet_blueprint(services: Services) -> Blueprint:
    """The blueprint over these services."""
    blp = Blueprint("controlnet", __name__, url_prefix=PREFIX, description="ControlNets, as A1111's extension has them")

    def reads() -> Any:
        return blp.doc(security=KEY, responses=ends(*READING_ENDS) | {"200": inline_answer(OBJECT)})

    @blp.route("/version")
    @reads()
    def version() -> Response:
        """The version of the extension's API (A1111)."""
        with services.door.enter(request):
            return jsonify(version=_VERSION)

    @blp.route("/model_list")
    @reads()
    def model_list() -> Response:
        """The ControlNets that can be used (A1111)."""
        with services.door.enter(request):
            return jsonify(model_list=[_title(other) for other in services.catalogue.others if _usable(other)])

    @blp.route("/module_list")
    @reads()
    def module_list() -> Response:
        """The preprocessors (A1111)."""
        with services.door.enter(request):
            detail = {name: {"model_free": False, "sliders": []} for name in MODULES}
            return jsonify(module_list=list(MODULES), module_detail=detail)

    @blp.route("/detect", methods=["POST"])
    @blp.doc(
        security=KEY,
        requestBody=bodies.DETECT,
        responses=ends(*SENDING_ENDS) | {"200": inline_answer(OBJECT)},
    )
    def detect() -> Response:
        """What a preprocessor makes of images (A1111)."""
        with services.door.enter(request, body_needed=True) as caller:
            services.rate.check(caller.owner)
            return jsonify(images=_detected(services, caller.body), info="Success")

    return blp


def _usable(other: OtherFile) -> bool:
    return other.kind == CONTROLNET and why_not(other) is None


def _title(other: OtherFile) -> str:
    return f"{other.name} [{other.sha256[:8]}]" if other.sha256 else other.name


def _detected(services: Services, body: Mapping[str, Any]) -> list[str]:
    """The images as base64. Raises InvalidRequest, ServiceUnavailable."""
    images = body.get("controlnet_images")
    if not isinstance(images, list) or not 1 <= len(images) <= _MOST_IMAGES:
        raise _invalid("controlnet_images", f"Must be a list of 1 to {_MOST_IMAGES} images as base64 text.")
    try:
        module = module_of(body.get("controlnet_module"))
    except ValueError as wrong:
        raise _invalid("controlnet_module", str(wrong)) from None
    side = number(body.get("controlnet_processor_res"))
    side = _DEFAULT_SIDE if side in (None, -1) else side
    if not isinstance(side, int) or isinstance(side, bool) or not LEAST_SIDE <= side <= MOST_SIDE:
        raise _invalid("controlnet_processor_res", f"Must be a number of pixels from {LEAST_SIDE} to {MOST_SIDE}.")
    made, limit = [], services.settings.max_input_pixels
    for place, image in enumerate(images):
        try:
            if not isinstance(image, str):
                raise ValueError("Must be an image as base64 text.")
            found = services.preprocess_image(image_bytes(image), limit, module, side)
        except ValueError as wrong:
            raise _invalid("controlnet_images", f"[{place}]: {wrong}") from None
        made.append(base64.b64encode(found.png).decode())
    return made


def _invalid(field: str, sentence: str) -> InvalidRequest:
    return InvalidRequest("The request has a field that cannot be used.", {field: [sentence]})
