"""A Flask server with the stock pipeline behind a lock: gunicorn starts it with `create_app("bfloat16")`."""

import threading

from flask import Flask, Response, jsonify, request

from benchmarks.rivals.stock import Asked, answer, generate, load_pipeline


def create_app(precision: str) -> Flask:
    """The app; it loads the model first."""
    app = Flask(__name__)
    pipeline, lock = load_pipeline(precision), threading.Lock()

    @app.get("/health")
    def health() -> str:
        return "ok"

    @app.post("/generate")
    def answer_request() -> Response:
        asked = Asked.read(request.get_json())
        with lock:
            images = generate(pipeline, [asked])
        return jsonify(answer(images[0]))

    return app
