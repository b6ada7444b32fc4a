"""The one reader of a process: who hears what, at which cost, and what happens without Redis."""

import threading
from contextlib import ExitStack

import pytest
import redis

from api.events.reader import EventReader, Moved, Notice
from shared.errors import DeadlineExceeded
from shared.jobs.events import EventLog, Kind
from shared.jobs.keys import Keys
from shared.jobs.records import Progress
from shared.jobs.store import JobStore

LONG_S = 30
NAME = "reader-of-the-test"


@pytest.fixture
def make_reader(world):
    """Make a reader over the world's jobs; its client is the world's own, but waits longer."""
    made = []

    def make(jobs=None, **chosen):
        client = redis.Redis.from_url(
            world.server.url, decode_responses=True, socket_timeout=LONG_S, retry=None, client_name=NAME
        )
        made.append(client)
        return EventReader(EventLog(client, Keys("pd:")), jobs or world.services.jobs, **chosen)

    yield make
    world.services.jobs.events.tell(world.redis, "nobody's", Kind.BEGUN)  # their threads wake up, and end
    for thread in threading.enumerate():
        if thread.name == "events":
            thread.join(LONG_S)
    for client in made:
        client.close()


@pytest.fixture
def reader(make_reader):
    return make_reader()


def kinds(listener, until=Kind.ENDED):
    """What comes, up to that kind."""
    found: list[Kind] = []
    while not found or found[-1] is not until:
        item = listener.next(LONG_S)
        assert item is not None, found
        found.append(item.kind)
    return found


def run(world, job_id, steps=(1, 2)):
    """A job from its begin to its end, with these steps and a preview at each."""
    jobs = world.services.jobs
    claim = jobs.claims.claim(job_id, 0)
    for step in steps:
        jobs.progress.report({claim: Progress(step, 20, b"image")})
    jobs.cancel(job_id)


def test_each_hears_of_its_own_job_what_it_wants(world, reader):
    """Given listeners of two jobs, for all events, with previews, and for the end alone, when the jobs run, then each
    hears its own."""
    one, two = world.submit(), world.submit()
    with (
        reader.listen(one, watches=True) as watching,
        reader.listen(one, watches=True, views=True) as viewing,
        reader.listen(two) as waiting,
    ):
        run(world, one)
        run(world, two)

        assert kinds(watching) == [Kind.BEGUN, Kind.PROGRESS, Kind.PROGRESS, Kind.ENDED]
        assert kinds(viewing) == [
            Kind.BEGUN, Kind.PROGRESS, Kind.PREVIEW, Kind.PROGRESS, Kind.PREVIEW, Kind.ENDED
        ]  # fmt: skip
        assert kinds(waiting) == [Kind.ENDED]


def test_who_comes_while_it_reads_misses_nothing(world, reader):
    """Given a reader at work, when another listener comes, then it hears of everything from then on."""
    with reader.listen(world.submit()):
        for _ in range(20):
            job_id = world.submit()
            with reader.listen(job_id) as listener:
                world.services.jobs.cancel(job_id)
                assert kinds(listener) == [Kind.ENDED]


def commands(world):
    """How many commands the server has carried out, without those of this look."""
    stats = world.redis.info("commandstats")
    return sum(each["calls"] for name, each in stats.items() if name != "cmdstat_info")


def test_many_listeners_cost_one_connection_and_ask_for_nothing(world, reader):
    """Given hundreds of listeners, when one of their jobs ends, then Redis has one connection more for all of them, and
    was asked a handful of times."""
    ids = [world.submit() for _ in range(300)]
    with ExitStack() as stack:
        listeners = [stack.enter_context(reader.listen(job_id)) for job_id in ids]
        world.services.jobs.cancel(ids[0])
        kinds(listeners[0])  # by now it reads
        asked = commands(world)
        connections = [each for each in world.redis.client_list() if each["name"] == NAME]
        world.services.jobs.cancel(ids[-1])
        cancelling = commands(world) - asked
        assert kinds(listeners[-1]) == [Kind.ENDED]

        assert len(connections) == 1
        # no more than the cancel itself, and the next look at the stream
        assert commands(world) - asked - cancelling <= 3
        assert all(listener.next(0) is None for listener in listeners[1:-1])


def test_without_listeners_nothing_is_read(world, reader):
    """Given a reader whose last listener has left, when the next event comes, then its thread ends; who comes later
    hears again."""
    with reader.listen(world.submit()):
        (thread,) = [each for each in threading.enumerate() if each.name == "events" and _reads(each, reader)]
    world.services.jobs.cancel(world.submit())
    thread.join(LONG_S)
    assert not thread.is_alive()

    job_id = world.submit()
    with reader.listen(job_id) as listener:
        world.services.jobs.cancel(job_id)
        assert kinds(listener) == [Kind.ENDED]


def _reads(thread, reader):
    return getattr(thread._target, "__self__", None) is reader


def test_who_waits_in_the_queue_hears_of_its_moves(world, reader):
    """Given two jobs that wait, when the first begins, then who listens to the second hears its new place; who waits
    for the end alone does not."""
    first, second = world.submit(), world.submit()
    with reader.listen(second, watches=True) as listener, reader.listen(second) as waiting:
        listener.is_queued = True
        world.services.jobs.claims.claim(first, 0)

        moved = listener.next(LONG_S)
        assert isinstance(moved, Moved)
        assert (moved.position, moved.id) == (1, world.services.jobs.events.last_id())
        assert waiting.next(0) is None


def test_an_end_that_was_not_told_is_noticed(world, make_reader):
    """Given a job whose end an older version did not tell, when the reader looks, then who waits is told to look."""
    reader = make_reader(look_s=0.05)
    job_id = world.submit()
    with reader.listen(job_id) as listener:
        world.redis.zrem("pd:backlog:open", job_id)
        assert listener.next(LONG_S) is Notice.LOOK


def test_a_job_that_waited_too_long_ends_without_a_worker(world, make_reader):
    """Given no worker, when a job waited longer than it may, then who waits looks, and the look ends it."""
    jobs = JobStore(world.redis, longest_wait_s=0.2)
    reader = make_reader(jobs, look_s=0.05)
    jobs.accept("late", world.services.jobs.get(world.submit()).request)
    with reader.listen("late") as listener:
        assert listener.next(LONG_S) is Notice.LOOK
        while not jobs.get("late").state.final:
            assert listener.next(LONG_S) is Notice.LOOK
        assert isinstance(jobs.get("late").error, DeadlineExceeded)
        while (item := listener.next(LONG_S)) is Notice.LOOK:
            pass
        assert item.kind is Kind.ENDED


def cut_off(world, reader):
    """Cut the reader off from Redis; gives what lets it in again."""
    pool = reader._events._redis.connection_pool
    port, pool.connection_kwargs["port"] = pool.connection_kwargs["port"], 1  # nobody listens there
    for each in world.redis.client_list():
        if each["cmd"].startswith("xread"):
            world.redis.client_kill_filter(_id=each["id"])

    def let_in():
        pool.connection_kwargs["port"] = port
        pool.reset()

    return let_in


def test_while_redis_is_away_nothing_is_missed(world, reader, caplog):
    """Given a Redis that the reader cannot reach for a while, when it is back, then the end meanwhile is heard."""
    job_id = world.submit()
    with reader.listen(job_id) as listener:
        let_in = cut_off(world, reader)
        while "no events can be read" not in caplog.text:
            assert listener.next(0.05) is None
        world.services.jobs.cancel(job_id)
        let_in()
        assert Kind.ENDED in kinds_or_notices(listener)


def kinds_or_notices(listener):
    """What comes, up to the end."""
    found = []
    while Kind.ENDED not in found:
        item = listener.next(LONG_S)
        assert item is not None
        found.append(item if isinstance(item, Notice) else item.kind)
    return found


def test_a_redis_that_counts_anew_is_followed(world, reader, caplog):
    """Given a Redis that lost everything, the ids of its events too, when events come again, then they are heard."""
    job_id = world.submit()
    with reader.listen(job_id) as listener:
        reader._position = "99999999999999-0"
        let_in = cut_off(world, reader)
        while "no events can be read" not in caplog.text:
            assert listener.next(0.05) is None
        let_in()
        while reader._position.startswith("9"):
            assert listener.next(0.05) in (None, Notice.LOOK)
        world.services.jobs.cancel(job_id)
        assert Kind.ENDED in kinds_or_notices(listener)


def test_who_does_not_fetch_is_told_to_stop(world, reader):
    """Given a listener that fetches nothing, when more comes than is kept for it, then it gets what was kept, and is
    told to stop; others are not held up."""
    job_id = world.submit()
    claim = world.services.jobs.claims.claim(job_id, 0)
    with reader.listen(job_id, watches=True) as slow, reader.listen(job_id) as other:
        for step in range(1, 400):
            world.services.jobs.progress.report({claim: Progress(step, 500)})
        world.services.jobs.cancel(job_id)
        assert kinds(other) == [Kind.ENDED]

        items = []
        while (item := slow.next(LONG_S)) is not Notice.STOP:
            items.append(item)
        assert 100 < len(items) < 399


def test_a_process_that_ends_tells_everybody(world, reader):
    """Given listeners, when the process is to end, then all are told, and so is who comes later."""
    with reader.listen(world.submit()) as listener:
        reader.stop()
        assert listener.next(LONG_S) is Notice.STOP
    with reader.listen(world.submit()) as late:
        assert late.next(LONG_S) is Notice.STOP
