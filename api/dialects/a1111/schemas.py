"""What the API document says of A1111's answers, and what can go wrong."""

from collections.abc import Callable, Mapping
from typing import Any

from flask import Response
from marshmallow import Schema, fields

from api.dialects.a1111.errors import RESTATED
from api.document import SUBMITTING, WAITING, WITH_KEY, json_answer, refusals
from shared import errors
from shared.errors import ServiceError

OBJECT: dict[str, Any] = {"type": "object"}
NULL: dict[str, Any] = {"type": "object", "nullable": True, "enum": [None]}
READING_ENDS: tuple[type[ServiceError], ...] = WITH_KEY
SENDING_ENDS: tuple[type[ServiceError], ...] = (
    *WITH_KEY, errors.InvalidRequest, errors.MalformedJson, errors.NotJson, errors.BodyTooLarge, errors.BodiesFull,
    errors.TooManyRequests,
)  # fmt: skip
DRAWING_ENDS: tuple[type[ServiceError], ...] = (
    *SUBMITTING, *WAITING, errors.NotFound, errors.TooManyWaiting, errors.StillWorking,
)  # fmt: skip


class A1111ErrorAnswer(Schema):
    """Every error of `/sdapi` and `/agent-scheduler`."""

    error = fields.String(metadata={"description": "What kind of error it is."})
    detail = fields.String(metadata={"description": "A sentence for a person."})
    body = fields.String()
    errors = fields.String(metadata={"description": "What is wrong with which field."})


class A1111ImagesAnswer(Schema):
    """Finished images."""

    images = fields.List(fields.String(), metadata={"description": "The images as base64, with infotext in each."})
    parameters = fields.Dict(metadata={"description": "The request's own parameters."})
    info = fields.String(metadata={"description": "What was used, as JSON in a string: seeds, infotexts, warnings."})


def ends(*kinds: type[ServiceError]) -> dict[str, Any]:
    """The `responses` of errors, in A1111's shape and with its statuses."""
    return refusals(*kinds, schema=A1111ErrorAnswer, restated=RESTATED)


IMAGES = json_answer("The images", A1111ImagesAnswer)


def inline_answer(schema: Mapping[str, Any], description: str = "The answer, as A1111 gives it") -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def described(view: Callable[..., Response], name: str, summary: str) -> Callable[..., Response]:
    """The view under a name and with a summary of its own, for views that a table makes."""
    view.__name__ = name.replace("-", "_").replace("/", "_")
    view.__doc__ = summary
    return view
