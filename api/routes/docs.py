"""The API document, and a page of this server that shows it and sends its examples."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from flask import Response, request
from flask_smorest import Blueprint

from api.document import NO_KEY, refusals
from shared.errors import NotFound

_STATIC = Path(__file__).parents[1] / "static"
_PAGE = _STATIC / "docs" / "index.html"
_FILES = {
    "docs.js": (_STATIC / "docs" / "docs.js", "text/javascript"),
    "docs.css": (_STATIC / "docs" / "docs.css", "text/css"),
    "swagger-ui-bundle.js": (_STATIC / "swagger-ui" / "swagger-ui-bundle.js", "text/javascript"),
    "swagger-ui.css": (_STATIC / "swagger-ui" / "swagger-ui.css", "text/css"),
}
# everything from here, nothing from elsewhere, no script in the page itself; Swagger UI's icons are data: addresses
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_KEPT_S = 3600
_DOCUMENT = {"description": "OpenAPI 3.0", "content": {"application/json": {"schema": {"type": "object"}}}}
_HTML = {"description": "A page", "content": {"text/html": {"schema": {"type": "string"}}}}
_FILE = {
    "description": "A script or a style sheet",
    "content": {kind: {"schema": {"type": "string"}} for kind in ("text/javascript", "text/css")},
}
_NAME = {"in": "path", "name": "name", "example": "docs.js", "description": "The file's name."}


def docs_blueprint(document: Callable[[], Mapping[str, Any]]) -> Blueprint:
    """The blueprint; `document` gives the API document once all blueprints are registered."""
    blp = Blueprint("docs", __name__, description="This documentation")

    @cache
    def text() -> bytes:
        return json.dumps(document(), indent=2).encode()

    def answer(data: bytes, kind: str, kept_s: int = 0) -> Response:
        response = Response(data, mimetype=kind)
        response.cache_control.max_age = kept_s
        response.add_etag()
        response.make_conditional(request)
        return response

    @blp.route("/openapi.json")
    @blp.doc(security=NO_KEY, responses={"200": _DOCUMENT})
    def openapi() -> Response:
        """This API as an OpenAPI document."""
        return answer(text(), "application/json")

    @blp.route("/docs")
    @blp.doc(security=NO_KEY, responses={"200": _HTML})
    def page() -> Response:
        """This documentation as a page, whose examples can be sent."""
        response = answer(_PAGE.read_bytes(), "text/html")
        response.headers["Content-Security-Policy"] = _POLICY
        return response

    @blp.route("/docs/<name>", parameters=[_NAME])
    @blp.doc(security=NO_KEY, responses=refusals(NotFound) | {"200": _FILE})
    def file(name: str) -> Response:
        """A file of that page."""
        if name not in _FILES:
            raise NotFound("The documentation has no file of that name.")
        path, kind = _FILES[name]
        return answer(path.read_bytes(), kind, _KEPT_S)

    return blp
