"""The shapes of `POST /metadata`, for the API document and for checking bodies."""

from marshmallow import Schema, fields

from shared.request.fields import Text


class MetadataSchema(Schema):
    """An image whose parameters are wanted."""

    image = fields.String(
        required=True,
        metadata={"description": "The file as it is, as base64 or as a data: URL: PNG, JPEG or WebP carry parameters."},
    )
    api_key = Text(allow_none=True, metadata={"description": "The key, where it is in no header."})


class MetadataAnswer(Schema):
    """What the image was made with, as far as it is understood."""

    source = fields.String(
        allow_none=True,
        metadata={
            "description": "Which program's form it is: personal_diffusion, a1111 (and Forge), comfyui, invokeai, "
            "novelai, fooocus; null: the image carries nothing that is understood."
        },
    )
    kind = fields.String(allow_none=True, metadata={"description": "generate or img2img: where to send it."})
    parameters = fields.Dict(
        metadata={"description": "By the names of the wire; all can be sent as they are. Of img2img, no image."}
    )
    warnings = fields.List(fields.String(), metadata={"description": "What of it is left out, and why."})
    infotext = fields.String(metadata={"description": "The text that A1111 and others write; empty where none is."})
