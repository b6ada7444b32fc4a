"""`POST /metadata`: an image in, its parameters out."""

from flask import Response, jsonify, request
from flask_smorest import Blueprint

from api.dialects.receipts.reading import read_receipt
from api.dialects.receipts.schemas import MetadataAnswer, MetadataSchema
from api.document import EXAMPLE_IMAGE, KEY, WITH_KEY, json_answer, refusals
from api.services import Services
from shared import errors
from shared.errors import InvalidRequest, ServiceError
from shared.request.image_text import ImageText
from shared.request.input_image import image_bytes
from shared.request.intake import load_body
from shared.request.schemas import Img2ImgSchema

_ENDS: tuple[type[ServiceError], ...] = (
    *WITH_KEY, errors.InvalidRequest, errors.MalformedJson, errors.NotJson, errors.EncodedBody, errors.BodyTooLarge,
    errors.BodyTooSlow, errors.BodiesFull, errors.TooManyRequests,
)  # fmt: skip
_EXAMPLES = {"image": {"summary": "Read an image", "value": {"image": EXAMPLE_IMAGE}}}


def receipts_blueprint(services: Services) -> Blueprint:
    """The blueprint over these services."""
    blp = Blueprint("receipts", __name__, description="What images were made with")
    schema, bounds = MetadataSchema(), Img2ImgSchema(services.limits)

    @blp.route("/metadata", methods=["POST"])
    @blp.doc(
        security=KEY,
        requestBody={
            "required": True,
            "content": {"application/json": {"schema": MetadataSchema, "examples": _EXAMPLES}},
        },
        responses=refusals(*_ENDS) | {"200": json_answer("What the image tells", MetadataAnswer)},
    )
    def metadata() -> Response:
        """Read what an image was made with, by this service or another program."""
        with services.door.enter(request, body_needed=True) as caller:
            services.rate.check(caller.owner)
            text = texts_of_image(services, load_body(schema, caller.body)["image"])
        receipt = read_receipt(text, bounds)
        return jsonify(
            source=receipt.source,
            kind=receipt.kind,
            parameters=dict(receipt.parameters or {}),
            warnings=list(receipt.warnings),
            infotext=text.infotext,
        )

    return blp


def texts_of_image(services: Services, image: object) -> ImageText:
    """The texts in an image that came as base64 in the field `image`. Raises InvalidRequest, ServiceUnavailable."""
    try:
        if not isinstance(image, str) or not image:
            raise ValueError("Must be an image as base64 text.")
        return services.read_image_text(image_bytes(image), services.settings.max_input_pixels)
    except ValueError as wrong:
        raise InvalidRequest("The image cannot be read.", {"image": [str(wrong)]}) from None
