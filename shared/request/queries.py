"""The parameters behind the `?` of addresses."""

from marshmallow import EXCLUDE, Schema, fields
from marshmallow.validate import OneOf

from shared.catalogue.models import DEFAULT_ALIAS

#: Few, so that little is made and kept: a tile of a gallery, the same on a dense screen, and a large one.
THUMBNAIL_WIDTHS = (192, 384, 768)


class StatusQuery(Schema):
    """`GET /status/<id>?preview=true&result=false`."""

    preview = fields.Boolean(load_default=False)
    result = fields.Boolean(load_default=True)


class ImageQuery(Schema):
    """`GET /images/<id>/<name>?width=384`."""

    class Meta:
        unknown = EXCLUDE  # programs add marks of their own to the addresses of images

    width = fields.Integer(load_default=None, validate=OneOf(THUMBNAIL_WIDTHS))


class SamplersQuery(Schema):
    """`GET /samplers?model=sdxl`."""

    model = fields.String(load_default=DEFAULT_ALIAS)


class EventsQuery(Schema):
    """`GET /events/<id>?previews=true`."""

    previews = fields.Boolean(load_default=False)
