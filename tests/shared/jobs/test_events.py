"""What is told of jobs, and to whom."""

import pytest

from shared.errors import InternalError
from shared.jobs.events import FIRST_ID, KEPT, Kind
from shared.jobs.records import Progress
from tests.shared.conftest import tell


def pass_time(clock):
    clock.now += 61


def told(jobs, job_id="one"):
    return [event.kind.value for event in jobs.events.since(job_id, FIRST_ID)]


def test_begin_and_end_are_always_told(jobs, create, finish):
    """Given jobs that nobody listens to, when they run, then their begin and their end are told, once each."""
    create(n_iter=2)
    create("two")
    finish("one")

    assert told(jobs) == ["begun", "ended"]
    assert told(jobs, "two") == []


@pytest.mark.parametrize(
    "end",
    [
        lambda jobs, _clock: jobs.cancel("one"),
        lambda jobs, _clock: jobs.claims.fail(jobs.claims.claim("one", 0), InternalError("It failed.")),
        lambda jobs, clock: (jobs.claims.claim("one", 0), pass_time(clock), jobs.get("one")),
        lambda jobs, clock: (jobs.claims.claim("one", 0), pass_time(clock), jobs.endings.end_overdue()),
        lambda jobs, _clock: [jobs.claims.claim("one", 0) for _ in range(4)],
    ],
    ids=["cancelled", "failed", "read when overdue", "found overdue", "attempts exhausted"],
)
def test_every_ending_is_told(jobs, create, clock, end):
    """Given a job, when it ends in whatever way, then its end is told with it, once."""
    create()
    end(jobs, clock)

    assert jobs.get("one").state.final
    assert told(jobs).count("ended") == 1


def test_steps_are_told_to_those_who_listen(jobs, create):
    """Given two jobs under way, when somebody listens to one, then its steps are told as those of the whole job, and
    nothing of the other's."""
    create(n_iter=2, ddim_steps=20)
    create("two")
    first, other = jobs.claims.claim("one", 0), jobs.claims.claim("two", 0)
    tell(jobs, first, 5, 20)
    assert told(jobs) == ["begun"]

    jobs.events.watch(["one"])
    jobs.progress.report({first: Progress(10, 20, b"image"), other: Progress(1, 20, b"image")})

    (event,) = [each for each in jobs.events.since("one", FIRST_ID) if each.kind is Kind.PROGRESS]
    assert {name: event.data[name] for name in ("Step", "Steps", "Progress")} == {
        "Step": 10, "Steps": 40, "Progress": 0.25,
    }  # fmt: skip
    assert told(jobs) == ["begun", "progress"]
    assert told(jobs, "two") == ["begun"]


def test_previews_are_told_to_those_who_want_to_see_them(jobs, create):
    """Given a job whose previews somebody wants to see, when there is one, then that is told, without the image."""
    create()
    claim = jobs.claims.claim("one", 0)
    jobs.events.watch(["one"], ["one"])
    jobs.progress.report({claim: Progress(1, 20, b"image")})
    jobs.progress.report({claim: Progress(2, 20)})

    assert told(jobs) == ["begun", "progress", "preview", "progress"]
    assert "aW1hZ2U=" not in str(jobs.redis.xrange("pd:events"))


def test_who_asks_for_a_preview_is_one_who_wants_to_see_them(jobs, create):
    """Given a job, when its preview is asked for, then previews of it are wanted from then on, and of no other."""
    create()
    assert jobs.events.viewed(["one", "two"]) == set()

    assert jobs.progress.preview("one") is None

    assert jobs.events.viewed(["one", "two"]) == {"one"}


def test_a_job_that_was_cancelled_tells_no_more_steps(jobs, create):
    """Given a cancelled job that somebody listens to, when its worker reports a step, then nothing is told of it."""
    create()
    claim = jobs.claims.claim("one", 0)
    jobs.events.watch(["one"], ["one"])
    jobs.cancel("one")

    assert jobs.progress.report({claim: Progress(1, 20, b"image")})
    assert told(jobs) == ["begun", "ended"]


def test_events_follow_on_from_an_id(jobs, create, finish):
    """Given events, when those after one are asked for, then these come and no others, in order, with growing ids."""
    create()
    finish("one")
    begun, ended = jobs.events.since("one", FIRST_ID)

    assert jobs.events.since("one", begun.id) == [ended]
    assert jobs.events.since("one", ended.id) == []
    assert jobs.events.last_id() == ended.id
    assert jobs.events.wait(begun.id, 0.001) == [ended]


def test_a_kind_that_a_newer_version_tells_is_left_out(jobs, create):
    """Given an event of an unknown kind, when events are read, then the others come."""
    create()
    jobs.redis.xadd("pd:events", {"job": "one", "kind": "painted", "data": "{}"})
    jobs.claims.claim("one", 0)

    assert told(jobs) == ["begun"]


def test_the_stream_is_trimmed(jobs):
    """Given many events, when they are told, then about as many are kept as may be."""
    with jobs.redis.pipeline(transaction=False) as pipe:
        for _ in range(KEPT + 1000):
            jobs.events.tell(pipe, "one", Kind.BEGUN)
        pipe.execute()

    assert jobs.redis.xlen("pd:events") <= KEPT + 200


def test_jobs_that_ended_or_should_have_are_told_apart(jobs, create, finish, clock):
    """Given jobs that wait, ran too long or have ended, then the last two are those to be looked at."""
    for job_id in ("one", "two", "three"):
        create(job_id)
    finish("one")
    jobs.claims.claim("two", 0)

    assert jobs.ended_or_overdue({"one", "two", "three", "never"}) == {"one", "never"}
    clock.now += 61
    assert jobs.ended_or_overdue({"one", "two", "three"}) == {"one", "two"}
    assert jobs.ended_or_overdue(set()) == set()
