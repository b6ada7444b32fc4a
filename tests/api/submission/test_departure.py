"""What becomes of a job whose client goes away while it waits."""

import threading
from contextlib import contextmanager

import pytest
from flask import request as http_request

from api.app import create_app
from api.submission.following import Events
from api.submission.waiting import take_and_wait, wait_for_end
from shared.jobs.records import State
from shared.request.schemas import GenerateSchema
from shared.settings import DUMMY_API_KEY, KEEP

KEY = {"X-API-Key": DUMMY_API_KEY}
LONG_S = 30.0


class Line:
    """The connection of a client that can hang up."""

    def __init__(self):
        self.watched = threading.Event()
        self.acts = []

    @contextmanager
    def when_gone(self, act):
        self.acts.append(act)
        self.watched.set()
        yield
        self.acts.remove(act)

    def hang_up(self):
        assert self.watched.wait(LONG_S)
        for act in list(self.acts):
            act()


class Process:
    """One API process in which clients of a dialect wait."""

    def __init__(self, world, **settings):
        self.services = world.build(sync_timeout_s=LONG_S, **({"disconnect_grace_s": 0.0} | settings))
        self.app = create_app(self.services)
        self.results = []

    def context(self, line):
        environ = {"gunicorn.socket": line}
        return self.app.test_request_context(
            "/door", method="POST", json={"prompt": "a cat"}, headers=KEY, environ_overrides=environ
        )

    def wait(self, line, do):
        """Have a client wait on a thread of its own; `do()` within its request."""

        def run():
            with self.context(line):
                self.results.append(do())

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def submit_and_wait(self, line):
        schema = GenerateSchema(self.services.limits)
        return self.wait(line, lambda: take_and_wait(self.services, http_request, schema).job)

    def wait_for(self, line, job_id, **how):
        return self.wait(line, lambda: wait_for_end(self.services, job_id, http_request=http_request, **how))


@pytest.fixture(autouse=True)
def _nothing_goes_on():
    """No test leaves behind what still minds its clients."""
    yield
    departures_end()


def departures_end():
    """Wait until nobody minds any more who hung up."""
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join(LONG_S)


def the_job(world):
    """The id of the one job there is, once it is there."""
    while not (keys := world.job_keys()):
        threading.Event().wait(0.01)
    return keys[0].rpartition(":")[2]


def state(world, job_id):
    return world.services.jobs.get(job_id).state


def test_a_client_that_is_gone_takes_its_job_with_it(world):
    """Given a client of a dialect that waits, when it hangs up and does not come back, then its job is cancelled."""
    process, line = Process(world), Line()
    waiting = process.submit_and_wait(line)
    line.hang_up()
    waiting.join(LONG_S)

    assert not waiting.is_alive()
    assert state(world, the_job(world)) is State.REVOKED


def test_a_retry_keeps_the_job(world):
    """Given a client that hung up, when its retry waits for the same job, at another process, then the job goes on, and
    the retry gets it."""
    world_job = world.submit()
    first, retry = Process(world, disconnect_grace_s=0.05), Process(world)
    line, other = Line(), Line()
    gone = first.wait_for(line, world_job)
    assert line.watched.wait(LONG_S)
    again = retry.wait_for(other, world_job)
    assert other.watched.wait(LONG_S)
    line.hang_up()
    gone.join(LONG_S)

    assert first.results == [None]
    assert state(world, world_job) is State.PENDING
    world.work(world_job)
    again.join(LONG_S)
    assert retry.results[0].state is State.SUCCESS


def test_who_came_before_keeps_the_job(world):
    """Given two clients that wait for one job, at two processes, when the one that came last hangs up, then the job
    goes on, and the other gets it; when that one hangs up as well, it is cancelled."""
    for ends in (State.SUCCESS, State.REVOKED):
        job_id = world.submit()
        first, second = Process(world), Process(world)
        line, other = Line(), Line()
        stays = first.wait_for(line, job_id)
        assert line.watched.wait(LONG_S)
        goes = second.wait_for(other, job_id)
        other.hang_up()
        goes.join(LONG_S)

        assert state(world, job_id) is State.PENDING
        if ends is State.SUCCESS:
            world.work(job_id)
        else:
            line.hang_up()
        stays.join(LONG_S)
        assert state(world, job_id) is ends
        if ends is State.SUCCESS:  # to one that hung up there is nothing to tell
            assert first.results[0].state is ends


def test_who_listens_to_the_events_keeps_the_job(world):
    """Given a client that hung up, when somebody listens to its job, then it goes on."""
    job_id = world.submit()
    process, line = Process(world), Line()
    waiting = process.wait_for(line, job_id)
    assert line.watched.wait(LONG_S)
    events = Events(world.services, job_id)
    line.hang_up()
    waiting.join(LONG_S)
    events.close()

    assert state(world, job_id) is State.PENDING


@pytest.mark.parametrize(
    ("chosen", "dialect", "cancelled"),
    [("auto", {}, True), ("auto", {"on_disconnect": KEEP}, False), ("keep", {}, False),
     ("cancel", {"on_disconnect": KEEP}, True)],
)  # fmt: skip
def test_the_operator_decides_before_the_dialect(world, chosen, dialect, cancelled):
    """Given ON_DISCONNECT, when a client of the native or of another dialect hangs up, then it is done as it says, and
    without it as the dialect does."""
    job_id = world.submit()
    process, line = Process(world, on_disconnect=chosen), Line()
    waiting = process.wait_for(line, job_id, **dialect)
    line.hang_up()
    waiting.join(LONG_S)
    departures_end()

    assert not waiting.is_alive(), "it gives its place back"
    assert state(world, job_id) is (State.REVOKED if cancelled else State.PENDING)


def test_a_stream_that_breaks_takes_its_job_with_it(world):
    """Given a client of a dialect that is streamed to, when it hangs up, then its job is cancelled."""
    job_id = world.submit()
    process, line = Process(world), Line()
    with process.context(line):
        events = Events(process.services, job_id, http_request=http_request)
    told = (each.kind for each in events if each)
    assert next(told) == "queued"
    line.hang_up()
    kinds = list(told)
    events.close()

    assert kinds in ([], ["cancelled"])
    assert state(world, job_id) is State.REVOKED


def test_a_job_that_has_ended_stays_as_it_is(world):
    """Given a job that ended before its client hung up for good, then it stays as it is."""
    job_id = world.submit()
    process, line = Process(world), Line()
    waiting = process.wait_for(line, job_id)
    assert line.watched.wait(LONG_S)
    (act,) = line.acts
    world.work(job_id)
    waiting.join(LONG_S)
    act()
    departures_end()

    assert process.results[0].state is State.SUCCESS
    assert state(world, job_id) is State.SUCCESS


def test_a_process_that_ends_cancels_nothing(world):
    """Given a client that hung up, when its API process is to end before the time for its retry is over, then the job
    goes on: nobody knows whether the retry comes to another process."""
    job_id = world.submit()
    process, line = Process(world), Line()
    waiting = process.wait_for(line, job_id)
    assert line.watched.wait(LONG_S)
    (act,) = line.acts
    process.services.stopping.set()
    waiting.join(LONG_S)
    act()
    departures_end()

    assert process.results == [None]
    assert state(world, job_id) is State.PENDING
