"""The views of `/sdapi/v1`."""

from collections.abc import Callable, Mapping
from typing import Any

from flask import Response, jsonify, request
from flask_smorest import Blueprint

from api.dialects.a1111 import bodies
from api.dialects.a1111.drawing import Drawing
from api.dialects.a1111.extras import batch_images, images_by_network, listed_images, network_of, single_image
from api.dialects.a1111.lists import LISTINGS, WITHOUT_EFFECT, Listing, embeddings_of
from api.dialects.a1111.options import options_of, set_options
from api.dialects.a1111.png_info import png_info
from api.dialects.a1111.progress import interrupt, progress_of, skip
from api.dialects.a1111.schemas import (
    DRAWING_ENDS,
    IMAGES,
    NULL,
    OBJECT,
    READING_ENDS,
    SENDING_ENDS,
    described,
    ends,
    inline_answer,
)
from api.document import IDEMPOTENCY_KEY, KEY
from api.services import Services
from shared.errors import ServiceError
from shared.request.schemas import GenerateSchema, Img2ImgSchema

PREFIX = "/sdapi/v1"
_SKIP_IMAGE = {
    "in": "query", "name": "skip_current_image", "schema": {"type": "boolean"}, "example": True,
    "description": "true: without a preview of the image.",
}  # fmt: skip


def a1111_blueprint(services: Services) -> Blueprint:
    """The blueprint over these services."""
    blp = Blueprint("a1111", __name__, url_prefix=PREFIX, description="Images as clients of the A1111 web UI ask")
    generate_schema, img2img_schema = GenerateSchema(services.limits), Img2ImgSchema(services.limits)

    def draws(body: Mapping[str, Any]) -> Any:
        return blp.doc(
            security=KEY,
            parameters=[IDEMPOTENCY_KEY],
            requestBody=body,
            responses=ends(*DRAWING_ENDS) | {"200": IMAGES},
        )

    def reads(schema: Mapping[str, Any], **more: Any) -> Any:
        answers = ends(*READING_ENDS) | {"200": inline_answer(schema)}
        return blp.doc(security=KEY, responses=answers, **more)

    def sends(body: Mapping[str, Any], schema: Mapping[str, Any], *more: type[ServiceError]) -> Any:
        answers = ends(*dict.fromkeys((*SENDING_ENDS, *more))) | {"200": inline_answer(schema)}
        return blp.doc(security=KEY, requestBody=body, responses=answers)

    def with_body(act: Callable[[Services, Mapping[str, Any]], Any]) -> Response:
        """What `act` makes of the body; it counts as a request of the key."""
        with services.door.enter(request, body_needed=True) as caller:
            services.rate.check(caller.owner)
            return jsonify(act(services, caller.body))

    def enlarge(
        resize: Callable[[Services, Mapping[str, Any]], Any],
        images_in: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        answer: Callable[[str, list[str]], Any],
    ) -> Response:
        """What `resize` makes of the body by a filter; by a network its images are jobs, which are waited for."""
        with services.door.enter(request, body_needed=True) as caller:
            services.rate.check(caller.owner)
            network = network_of(services, caller.body)
            if network is None:
                return jsonify(resize(services, caller.body))
            wait = images_by_network(services, request, caller, network, images_in(caller.body))
        return jsonify(answer(f"<p>Resized with {network}.</p>", wait()))

    def by_owner(act: Callable[[Services, str], Any]) -> Response:
        with services.door.enter(request) as caller:
            return jsonify(act(services, caller.owner))

    @blp.route("/txt2img", methods=["POST"])
    @draws(bodies.TXT2IMG)
    def txt2img() -> Response:
        """Draw images from a prompt (A1111)."""
        return Drawing(services, generate_schema).wait(request)

    @blp.route("/img2img", methods=["POST"])
    @draws(bodies.IMG2IMG)
    def img2img() -> Response:
        """Redraw an image after a prompt (A1111)."""
        return Drawing(services, img2img_schema).wait(request)

    @blp.route("/progress")
    @reads(OBJECT, parameters=[_SKIP_IMAGE])
    def progress() -> Response:
        """How far the jobs of the key are (A1111)."""
        with_image = request.args.get("skip_current_image", "").lower() not in ("true", "1")
        return by_owner(lambda services, owner: progress_of(services, owner, with_image=with_image))

    @blp.route("/interrupt", methods=["POST"])
    @reads(OBJECT)
    def stop_all() -> Response:
        """Stop the jobs of the key that clients wait for (A1111)."""
        return by_owner(interrupt)

    @blp.route("/skip", methods=["POST"])
    @reads(OBJECT)
    def stop_one() -> Response:
        """Stop the job of the key that is at work (A1111)."""
        return by_owner(skip)

    @blp.route("/options")
    @reads(OBJECT)
    def options() -> Response:
        """The options of the key: its model, and what is the same for all (A1111)."""
        return by_owner(options_of)

    @blp.route("/options", methods=["POST"])
    @sends(bodies.OPTIONS, NULL)
    def choose() -> Response:
        """Choose the model of the key, for requests that name none (A1111)."""
        with services.door.enter(request, body_needed=True) as caller:
            set_options(services, caller.owner, caller.body)
            return jsonify(None)

    @blp.route("/png-info", methods=["POST"])
    @sends(bodies.PNG_INFO, OBJECT)
    def info() -> Response:
        """Read the parameters in an image (A1111)."""
        return with_body(png_info)

    @blp.route("/extra-single-image", methods=["POST"])
    @sends(bodies.ONE_IMAGE, OBJECT, *DRAWING_ENDS)
    def resize_one() -> Response:
        """Resize an image (A1111)."""
        return enlarge(
            single_image,
            lambda body: {"image": body.get("image")},
            lambda told, images: {"html_info": told, "image": images[0]},
        )

    @blp.route("/extra-batch-images", methods=["POST"])
    @sends(bodies.MANY_IMAGES, OBJECT, *DRAWING_ENDS)
    def resize_many() -> Response:
        """Resize images (A1111)."""
        return enlarge(
            batch_images,
            lambda body: listed_images(services, body),
            lambda told, images: {"html_info": told, "images": images},
        )

    @blp.route("/embeddings")
    @reads(OBJECT)
    def embeddings() -> Response:
        """The embeddings: those for the model of the key, and the others (A1111)."""
        return by_owner(embeddings_of)

    def list_view(listing: Listing) -> Callable[[], Response]:
        def view() -> Response:
            with services.door.enter(request):
                return jsonify(listing.answer(services))

        return described(view, listing.path, listing.summary)

    def idle_view(path: str, summary: str) -> Callable[[], Response]:
        def view() -> Response:
            with services.door.enter(request):
                return jsonify(None)

        return described(view, path, summary)

    for listing in LISTINGS:
        blp.route(f"/{listing.path}")(reads(listing.schema)(list_view(listing)))
    for path, summary in WITHOUT_EFFECT.items():
        blp.route(f"/{path}", methods=["POST"])(reads(NULL)(idle_view(path, summary)))
    return blp
