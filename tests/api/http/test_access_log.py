"""Who did what: ids of requests, and a line for each."""

import logging

import pytest
import structlog

from shared.settings import DUMMY_API_KEY


@pytest.fixture
def lines(caplog, monkeypatch):
    """What was logged, each with what was bound to its request at that moment."""
    caplog.set_level(logging.DEBUG)
    found = []

    class Keep(logging.Filter):
        def filter(self, record):
            found.append(
                {"event": record.getMessage(), "level": record.levelname} | structlog.contextvars.get_contextvars()
            )
            return True

    keep = Keep()
    caplog.handler.addFilter(keep)
    yield found
    caplog.handler.removeFilter(keep)


def accesses(lines):
    return [line for line in lines if line["event"] == "request"]


def test_a_request_is_a_line(world, lines):
    """Given a submission, when answered, then one line tells method, path, status, time, owner and job; no key."""
    answer = world.client.post(
        "/generate?x=secret", json={"prompt": "a cat"}, headers={"X-API-Key": DUMMY_API_KEY, "X-Request-Id": "mine-1"}
    )

    (line,) = accesses(lines)
    assert (line["method"], line["path"], line["status"]) == ("POST", "/generate", 202)
    assert line["job_id"] == answer.json["task_id"]
    assert line["request_id"] == answer.headers["X-Request-Id"] == "mine-1"
    assert line["ms"] > 0
    assert len(line["owner"]) == 16
    queued = next(each for each in lines if each["event"].startswith("queued"))
    assert queued["request_id"] == "mine-1", "every line of the request has it"
    assert not any(DUMMY_API_KEY in str(each) or "secret" in str(each) for each in lines)
    assert structlog.contextvars.get_contextvars() == {}, "and none of the next"


@pytest.mark.parametrize("sent", [None, "", "a b", "x" * 129, "a\tb", "ä", '{"a": 1}'])
def test_an_id_that_is_not_sane_is_replaced(client, sent):
    """Given no id, or one that could break a line or a header, when answered, then it is one of our own."""
    answer = client.get("/nowhere", headers={} if sent is None else {"X-Request-Id": sent})

    assert answer.headers["X-Request-Id"] != sent
    assert len(answer.headers["X-Request-Id"]) == 16


def test_polls_that_go_well_are_of_interest_to_nobody(world, lines):
    """Given polls, when they go well, then they are lines of DEBUG; when not, of INFO."""
    job_id = world.submit()
    lines.clear()
    for path in (f"/status/{job_id}", "/health", "/sdapi/v1/progress", "/status/x"):
        world.client.get(path, headers={"X-API-Key": DUMMY_API_KEY})

    assert [line["level"] for line in accesses(lines)] == ["DEBUG", "DEBUG", "DEBUG", "INFO"]


def test_the_lines_can_be_turned_off(world, lines):
    """Given ACCESS_LOG=false, when asked, then no line, and still an id."""
    answer = world.another_client(access_log=False).get("/nowhere")

    assert accesses(lines) == []
    assert answer.headers["X-Request-Id"]


def test_an_unforeseen_error_can_be_quoted(world, assert_error, monkeypatch, lines):
    """Given a bug, when it strikes, then the client is told the id under which it stands in the log."""

    def strike(job_id):
        raise ZeroDivisionError

    monkeypatch.setattr(world.services.jobs, "get", strike)
    answer = world.client.get("/status/x")

    error = assert_error(answer, 500, "internal_error")
    assert answer.headers["X-Request-Id"] in error.error
    logged = next(line for line in lines if line["event"] == "unforeseen error")
    assert logged["request_id"] == answer.headers["X-Request-Id"]
