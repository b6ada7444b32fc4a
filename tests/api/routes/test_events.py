"""GET /events: what a client is told of a job, in which order, and how it follows on."""

import json
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from shared.errors import OutOfMemory
from shared.jobs.records import Progress
from shared.settings import DUMMY_API_KEY


@dataclass
class Sent:
    """One event off the wire."""

    id: str
    kind: str
    data: dict[str, Any]


class Stream:
    """An open stream of events, read one by one."""

    def __init__(self, client, path, **headers):
        self.answer = client.get(path, headers=headers)
        assert self.answer.status_code == 200, self.answer.get_data(as_text=True)
        self._texts = iter(self.answer.response)
        self.opening = next(self._texts).decode()

    def __iter__(self):
        return self

    def __next__(self):
        while (text := next(self._texts).decode()).startswith(":"):
            pass
        assert text.endswith("\n\n")
        named = dict(line.split(": ", 1) for line in text.strip().split("\n"))
        return Sent(named["id"], named["event"], json.loads(named["data"]))

    def close(self):
        self.answer.close()


@pytest.fixture
def listen(world):
    """Open a stream of a job; all are closed after the test."""
    opened = []

    def open_stream(job_id, query="", client=None, **headers):
        stream = Stream(client or world.client, f"/events/{job_id}{query}", **headers)
        opened.append(stream)
        return stream

    yield open_stream
    for stream in opened:
        stream.close()


def report(world, claim, step, preview=None):
    world.services.jobs.progress.report({claim: Progress(step, 20, preview)})


def test_a_job_is_told_from_its_place_in_the_queue_to_its_end(world, listen):
    """Given a job, when it waits, moves up, runs and is done, then each is told as it happens, with an id, and the
    stream ends with links and seeds."""
    first, job_id = world.submit(), world.submit(seed=7, n_samples=2)
    stream = listen(job_id)

    assert stream.opening.startswith(": ")
    assert stream.answer.mimetype == "text/event-stream"
    assert stream.answer.headers["X-Accel-Buffering"] == "no"
    assert stream.answer.headers["Cache-Control"] == "no-store"
    queued = next(stream)
    assert (queued.kind, queued.data) == ("queued", {"Position": 2, "ETA": None})
    world.services.jobs.claims.claim(first, 0)
    moved = next(stream)
    assert (moved.kind, moved.data["Position"]) == ("queued", 1)
    claim = world.services.jobs.claims.claim(job_id, 0)
    begun = next(stream)
    assert (begun.kind, begun.data["Step"], begun.data["Steps"]) == ("progress", 0, 40)
    report(world, claim, 5)
    assert next(stream).data["Step"] == 5
    world.work(job_id)
    *_, done = stream
    assert (done.kind, done.id, done.data["Seeds"]) == ("done", "end", [7, 8])
    assert done.data == world.client.get(f"/status/{job_id}?result=false").json
    assert world.client.get(done.data["Images"][1]).status_code == 200
    ids = [each.id for each in (queued, moved, begun)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 3


def test_a_job_that_has_ended_is_told_at_once(world, listen):
    """Given a job that is done, when its events are asked for, then there is one, and the stream ends."""
    (done,) = listen(world.work(world.submit()))

    assert done.kind == "done"


def test_a_cancel_is_told(world, listen):
    """Given a job that waits, when it is cancelled, then that is told, and the stream ends."""
    job_id = world.submit()
    stream = listen(job_id)
    next(stream)
    world.client.post(f"/cancel/{job_id}")

    (cancelled,) = stream
    assert (cancelled.kind, cancelled.data["State"]) == ("cancelled", "REVOKED")


def test_a_failure_is_told_in_the_shape_of_errors(world, listen):
    """Given a job that runs, when it fails, then that is told with sentence, code and fields, and the stream ends."""
    job_id = world.submit()
    claim = world.services.jobs.claims.claim(job_id, 0)
    stream = listen(job_id)
    next(stream)
    world.services.jobs.claims.fail(claim, OutOfMemory("The device cannot hold it."))

    (failed,) = stream
    assert failed.kind == "failed"
    assert failed.data == {"error": "The device cannot hold it.", "code": "out_of_memory", "fields": {}}


def test_previews_come_to_those_who_ask(world, listen):
    """Given two that listen, when there is a preview, then it comes to the one that asked for previews."""
    job_id = world.submit()
    claim = world.services.jobs.claims.claim(job_id, 0)
    plain, seeing = listen(job_id), listen(job_id, "?previews=true")
    next(plain), next(seeing)
    report(world, claim, 1, b"image")
    report(world, claim, 2)
    world.services.jobs.cancel(job_id)

    assert [each.kind for each in plain] == ["progress", "progress", "cancelled"]
    told = list(seeing)
    assert [each.kind for each in told] == ["progress", "preview", "progress", "cancelled"]
    assert told[1].data == {"Image": "aW1hZ2U="}


def test_who_comes_back_gets_what_it_missed(world, listen):
    """Given one who listened and was cut off, when it comes back with the last id that it has, to another process, then
    it gets the events between, the same as one who stayed, and none twice."""
    job_id = world.submit()
    claim = world.services.jobs.claims.claim(job_id, 0)
    staying, leaving = listen(job_id), listen(job_id)
    next(leaving), next(staying)
    report(world, claim, 1)
    last = next(leaving)
    assert last.data["Step"] == 1
    leaving.close()
    for step in (2, 3, 4):
        report(world, claim, step)

    back = listen(job_id, client=world.another_client(), **{"Last-Event-ID": last.id})
    missed = [next(back) for _ in range(3)]
    world.services.jobs.cancel(job_id)
    assert [each.data["Step"] for each in missed] == [2, 3, 4]
    assert list(staying)[:-1] == [last, *missed]
    assert [each.kind for each in back] == ["cancelled"]


@pytest.mark.parametrize("last", ["1-1", "99999999999999-0", "nonsense", "", "1-1\u0661", "-", "end"])
def test_who_comes_back_with_an_old_or_strange_id_gets_the_state(world, listen, last):
    """Given an id that is trimmed away, not yet given or none at all, when events are asked for with it, then the state
    comes, and then what happens."""
    job_id = world.submit()
    stream = listen(job_id, **{"Last-Event-ID": last.encode().decode("latin-1")})

    assert next(stream).kind == "queued"
    world.services.jobs.cancel(job_id)
    assert next(stream).kind == "cancelled"


def test_who_has_the_end_need_not_come_again(world):
    """Given a client that has the last event, when it comes back, as browsers do, then 204 tells it to stay away."""
    job_id = world.work(world.submit())

    assert world.client.get(f"/events/{job_id}", headers={"Last-Event-ID": "end"}).status_code == 204


def test_events_need_what_a_status_needs(world, assert_error):
    """Given PRIVATE_RESULTS, when events are asked for without a key, with another and with the job's, then 401, 404
    and the events; a job that is not there is 404, an unknown parameter 400."""
    private = world.another_client(private_results=True, api_keys=("one", "two"))
    job_id = world.work(world.post(client=private, api_key="one").json["task_id"])

    assert_error(private.get(f"/events/{job_id}"), 401, "unauthorized")
    assert_error(private.get(f"/events/{job_id}", headers={"X-API-Key": "two"}), 404, "not_found")
    with closing(private.get(f"/events/{job_id}", headers={"X-API-Key": "one"})) as answer:
        assert b"event: done" in answer.data
    assert_error(world.client.get("/events/never"), 404, "not_found")
    assert_error(world.client.get(f"/events/{job_id}?preview=true"), 400, "invalid_request")


def test_past_the_cap_of_listeners_the_answer_is_429(world, listen, assert_error):
    """Given one place to listen, when a second client comes, then 429 with a time; once the first leaves, it may."""
    job_id = world.submit()
    client = world.another_client(event_listeners=1)
    first = listen(job_id, client=client)

    refused = client.get(f"/events/{job_id}")
    assert_error(refused, 429, "too_many_waiting")
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    first.close()
    assert next(listen(job_id, client=client)).kind == "queued"


def test_a_stream_that_was_never_read_gives_its_place_back(world, listen):
    """Given one place, when a client hangs up, or asks with HEAD, before anything was read, then the next one gets
    it."""
    job_id = world.submit()
    client = world.another_client(event_listeners=1)
    client.get(f"/events/{job_id}").close()
    client.head(f"/events/{job_id}").close()

    assert next(listen(job_id, client=client)).kind == "queued"


def test_a_process_that_ends_ends_its_streams(world, listen):
    """Given an open stream, when the API process is to end, then the stream ends, so that the client comes back."""
    client = world.another_client()
    stream = listen(world.submit(), client=client)
    next(stream)
    client.application.extensions["stopping"].set()

    assert list(stream) == []


def test_the_key_of_the_dummy_is_not_needed(world, listen):
    """Given a job's id, when events are asked for without a key, then they come, as its status does."""
    job_id = world.submit(api_key=DUMMY_API_KEY)

    assert next(listen(job_id)).kind == "queued"


def test_a_silent_stream_says_that_it_lives(world, listen, monkeypatch):
    """Given a job of which nothing is to be told, when its events are listened to, then comments come meanwhile."""
    monkeypatch.setattr("api.submission.following.KEEP_ALIVE_S", 0.01)
    stream = listen(world.submit())
    next(stream)

    assert next(stream._texts).startswith(b": ")
