"""Streams: which events come, in which shape, and what a client reads when something goes wrong."""

import base64
import io
import json

import pytest
from PIL import Image

from api.dialects.openai.answering import Answering
from api.dialects.openai.operations import EDIT, GENERATION
from api.dialects.openai.streaming import ImageEvents
from api.submission.following import Told
from api.submission.submit import Taken
from shared.errors import OutOfMemory
from tests.api.dialects.openai.conftest import OpenAIClient, error_of

PREVIEW = base64.b64encode(b"a small JPEG").decode()


def events_of(text):
    """(name, data) of each event; comments and other lines are left out."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if "data" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


class Scripted(list[Told | None]):
    """Events that were thought up."""

    def close(self):
        """Nothing is held."""


@pytest.fixture
def told(world):
    """What the stream of a finished job says when its events are these; `partial` previews are asked for."""
    job = world.services.jobs.get(world.work(world.submit(seed=5, W=64, H=128)))

    def tell(events, partial=0, operation=GENERATION, end=True):
        last = [Told("end", "done", {})] if end else []
        asked = Answering(url=False, b64=True, stream=True, partial_images=partial)
        taken = Taken(job.id, job.request, replayed=False, owner=job.owner)
        stream = ImageEvents(world.services, taken, Scripted([*events, *last]), asked, operation, "http://here")
        return "".join(stream)

    return tell


def progress(share):
    return Told("1-1", "progress", {"Step": 1, "Steps": 2, "Progress": share, "ETA": None})


def preview():
    return Told("1-2", "preview", {"Image": PREVIEW})


def test_a_stream_begins_at_once_and_ends_with_the_image(openai):
    """Given stream, when posted, then a comment comes first, and the image in an event named as upstream."""
    answer = openai.post(stream=True, size="64x64", seed=3)

    assert (answer.status_code, answer.mimetype) == (200, "text/event-stream")
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert answer.headers["X-Request-Id"] == answer.headers["X-Task-Id"]
    assert answer.text.startswith(":")
    assert "retry:" not in answer.text, "the openai packages take it for an event without data"
    [(name, data)] = events_of(answer.text)
    assert name == data["type"] == "image_generation.completed"
    assert Image.open(io.BytesIO(base64.b64decode(data["b64_json"]))).format == "PNG"
    assert {"created_at", "size", "quality", "background", "output_format"} <= set(data)
    assert (data["size"], data["seed"]) == ("64x64", 3)
    assert "usage" not in data


def test_each_image_has_an_event(openai):
    """Given n, when streamed, then so many images come, with links where they are asked for."""
    events = events_of(openai.post(stream=True, n=2, response_format="url").text)
    assert [name for name, _ in events] == ["image_generation.completed"] * 2
    assert len({data["b64_json"] for _, data in events}) == 2
    assert all(data["url"].startswith("http://localhost/images/") for _, data in events)


def test_previews_come_spread_over_the_job(told):
    """Given more previews than were asked for, when streamed, then the first comes at once, others as the job goes."""
    events = [progress(0.1), preview(), progress(0.2), preview(), progress(0.5), preview(), progress(0.9), preview()]
    found = events_of(told(events, partial=2))
    assert [name for name, _ in found] == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert [data["partial_image_index"] for _, data in found[:-1]] == [0, 1]
    data = found[0][1]
    assert (data["b64_json"], data["output_format"], data["size"]) == (PREVIEW, "jpeg", "64x128")
    assert {"type", "created_at", "quality", "background"} <= set(data)


@pytest.mark.parametrize("partial", [0, 3])
def test_fewer_previews_than_asked_for_are_right(told, partial):
    """Given one preview in all, when streamed, then it comes if any was asked for."""
    found = events_of(told([preview()], partial=partial))
    assert len(found) == 1 + bool(partial)


def test_edits_have_names_of_their_own(told):
    """Given an edit, when streamed, then its events are named after it."""
    found = events_of(told([progress(0.1), preview()], partial=1, operation=EDIT))
    assert [name for name, _ in found] == ["image_edit.partial_image", "image_edit.completed"]


def test_a_quiet_stream_is_kept_alive(told):
    """Given nothing to tell for a while, when streamed, then a comment is sent."""
    assert told([None]).startswith(":")


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (Told("end", "failed", {"error": "No room.", "code": "out_of_memory", "fields": {}}), "out_of_memory"),
        (Told("end", "cancelled", {}), "cancelled"),
    ],
)
def test_an_end_without_images_is_an_error_event(told, end, code):
    """Given a job that fails or is cancelled, when streamed, then an error event has all four keys."""
    [(name, data)] = events_of(told([end], end=False))
    assert name == "error"
    assert set(data["error"]) == {"message", "type", "param", "code"}
    assert data["error"]["code"] == code


def test_a_server_that_ends_says_where_the_job_is(told):
    """Given events that end before the job does, when streamed, then the error event names the job."""
    [(name, data)] = events_of(told([progress(0.3)], end=False))
    assert (name, data["error"]["code"]) == ("error", "still_working")
    assert "/status/" in data["error"]["message"]


def test_an_image_that_is_gone_is_an_error_event(world, told):
    """Given a job whose images were deleted, when streamed, then an error event says so."""
    root = world.folder / "outputs"
    for path in root.rglob("*.png"):
        path.unlink()
    [(name, data)] = events_of(told([]))
    assert (name, data["error"]["code"]) == ("error", "result_missing")


def test_a_failed_job_is_told_through_the_whole_application(world, openai):
    """Given a job that fails, when its stream is read, then the error event comes with status 200."""

    def fail(job_id):
        claim = world.services.jobs.claims.claim(job_id, 0)
        world.services.jobs.claims.fail(claim, OutOfMemory("The device has no room."))

    world.play_worker(fail)
    answer = openai.post(stream=True)
    assert answer.status_code == 200
    [(name, data)] = events_of(answer.text)
    assert (name, data["error"]["code"]) == ("error", "out_of_memory")


def test_a_stream_needs_a_place(world):
    """Given no place for listeners, when a stream is asked for, then 429 before anything is queued."""
    openai = OpenAIClient(world, event_listeners=0)
    assert error_of(openai.post(stream=True), 429)["code"] == "too_many_waiting"
    assert openai.jobs() == 0


def test_a_bad_field_of_a_stream_is_an_ordinary_error(openai):
    """Given a stream with a bad field, when posted, then 400 as without a stream."""
    assert error_of(openai.post(stream=True, size="banana"), 400)["param"] == "size"
