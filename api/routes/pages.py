"""The page for people, `GET /`, and the files that it is made of."""

from html import escape
from pathlib import Path

from flask import Response, jsonify, request
from flask_smorest import Blueprint

from api.document import NO_KEY, refusals
from api.services import Services
from shared.errors import NotFound
from shared.settings import DUMMY_API_KEY
from shared.version import VERSION

_STATIC = Path(__file__).resolve().parents[1] / "static"
_INDEX = "index.html"
"""It is served with the key filled in, at `/`."""
# scripts and styles are files of ours; images are also what a person chose (blob) and previews (data)
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_PAGE = {
    "description": "A page; for a program that does not ask for HTML, what is here",
    "content": {"text/html": {"schema": {"type": "string"}}, "application/json": {"schema": {"type": "object"}}},
}
_KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_FILES = {
    str(path.relative_to(_STATIC)): path
    for folder in (_STATIC, _STATIC / "vendor")
    for path in folder.iterdir()
    if path.suffix in _KINDS and path.name != _INDEX
}
_FILE = {
    "description": "A file of the page",
    "content": {kind: {"schema": {"type": "string"}} for kind in _KINDS.values()},
}
_NAME = {"in": "path", "name": "name", "example": "app.js", "description": "The file's name."}


def pages_blueprint(services: Services) -> Blueprint:
    """The blueprint over these services."""
    blp = Blueprint("pages", __name__, description="The page for people")
    # the public key opens a service without keys of its own anyway, so that the page need not ask for one
    key = "" if services.settings.api_keys else DUMMY_API_KEY
    page = (_STATIC / _INDEX).read_text(encoding="utf-8").replace("{{key}}", escape(key))

    @blp.route("/")
    @blp.doc(security=NO_KEY, responses={"200": _PAGE})
    def index() -> Response:
        """The page for people."""
        if request.accept_mimetypes.best_match(("application/json", "text/html")) == "text/html":
            response = Response(page, mimetype="text/html")
            response.headers["Content-Security-Policy"] = _POLICY
        else:
            # `model` is what SillyTavern's drawthings reads here
            response = jsonify(
                name="Personal Diffusion", version=VERSION, model=services.catalogue.default.name, api="/openapi.json"
            )
        response.headers["Cache-Control"] = "no-cache"
        response.vary.add("Accept")
        return response

    @blp.route("/static/<path:name>", parameters=[_NAME])
    @blp.doc(security=NO_KEY, responses=refusals(NotFound) | {"200": _FILE})
    def static_file(name: str) -> Response:
        """A file of the page; browsers ask each time whether it has changed."""
        path = _FILES.get(name)
        if path is None:
            raise NotFound("There is no such file.")
        response = Response(path.read_bytes(), mimetype=_KINDS[path.suffix])
        response.headers["Cache-Control"] = "no-cache"
        response.add_etag()
        response.make_conditional(request)
        return response

    return blp
