"""One shape and one table for every error."""

import pytest
import redis
from flask import abort
from redis import exceptions

from api.app import create_app
from api.http.errors import STATUS, error_response
from shared.errors import all_errors


def test_every_error_has_a_status():
    """Given the error tree, when the table is read, then every class stands in it with an error status."""
    assert set(STATUS) == set(all_errors())
    assert all(400 <= status < 600 for status in STATUS.values())


@pytest.mark.parametrize("kind", all_errors())
def test_every_error_has_the_one_shape(world, assert_error, kind):
    """Given any error with fields, when answered, then shape, status and code are the table's."""
    with world.app.test_request_context("/generate"):
        answer = error_response(kind("A sentence.", {"H": ["wrong"]}))
        told = assert_error(answer, STATUS[kind], kind.code)

    assert (told.error, told.fields) == ("A sentence.", {"H": ["wrong"]})
    assert ("Retry-After" in answer.headers) == (STATUS[kind] in (429, 503))


@pytest.mark.parametrize(
    "path", ["/nope", "/generate/", "/status", "/status/", "/images/x", "/static/x.js", "/..%2f..%2fetc"]
)
def test_an_unknown_address_is_404_in_json(client, assert_error, path):
    """Given an address without a view, when asked for, then 404 in the one shape."""
    assert_error(client.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/generate", "POST"),
        ("PUT", "/img2img", "POST"),
        ("GET", "/cancel/x", "POST"),
        ("DELETE", "/status/x", "GET"),
    ],
)
def test_a_wrong_method_is_405_in_json_and_names_the_right_one(client, assert_error, method, path, allowed):
    """Given a known address and another method, when asked for, then 405 with Allow."""
    answer = client.open(path, method=method)

    assert_error(answer, 405)
    assert allowed in answer.headers["Allow"]


def test_an_unforeseen_exception_is_500_without_a_trace(world, assert_error, monkeypatch, caplog):
    """Given a bug, when it strikes, then the client gets one sentence and the log gets the trace."""

    def strike(job_id):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(world.services.jobs, "get", strike)

    answer = world.client.get("/status/x")

    assert_error(answer, 500, "internal_error")
    assert "secret" not in answer.text
    assert "secret detail" in caplog.text
    assert "Traceback" in caplog.text


def test_every_error_of_the_framework_gets_the_one_shape(world, assert_error):
    """Given an error that Flask raises by itself, when answered, then it has its status and our shape."""
    app = create_app(world.build())
    app.add_url_rule("/raises/<int:code>", view_func=abort)

    for status in (400, 403, 406, 408, 418, 429, 431, 500, 501, 502, 504):
        assert_error(app.test_client().get(f"/raises/{status}"), status)


@pytest.mark.parametrize("path", ["/health", "/nowhere", "/status/0", "/openapi.json"])
def test_every_answer_is_hardened(client, path):
    """Given any address, when it answers, then browsers are told to run, frame and guess nothing, and nobody may
    read it from another origin."""
    headers = client.get(path, headers={"Origin": "https://elsewhere.example"}).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert not [name for name, _ in headers if name.startswith("Access-Control")]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (redis.ConnectionError("refused"), 503, "service_unavailable"),
        (exceptions.OutOfMemoryError("command not allowed"), 503, "redis_full"),
        (exceptions.AuthenticationError("NOAUTH secret detail"), 500, "internal_error"),
        (redis.ResponseError("too many results to unpack, secret detail"), 500, "internal_error"),
    ],
)
def test_an_error_of_redis_is_told_as_what_it_is(world, assert_error, monkeypatch, caplog, error, status, code):
    """Given an error of Redis, when it strikes, then only what passes is 503; the rest is 500, and in the log."""

    def strike(job_id):
        raise error

    monkeypatch.setattr(world.services.jobs, "get", strike)

    answer = world.client.get("/status/x")

    assert_error(answer, status, code)
    assert "secret" not in answer.text
    assert str(error) in caplog.text
