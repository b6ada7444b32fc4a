"""What a job's record takes of Redis: little, known before it is accepted, and bounded."""

import json

import pytest

from shared.errors import TooCostly, TooManyJobs
from shared.jobs.backlog import Most
from shared.jobs.records import StoredImage, record_bytes
from shared.jobs.store import JobStore

EMOJI = "🧀" * 900


def test_a_record_holds_its_prompt_once_and_as_it_is_written(jobs, generate):
    """Given a long prompt and many images, when all are done, then the record is hardly longer than the prompt."""
    jobs.accept("one", generate(prompt=EMOJI, n_iter=4, n_samples=4, H=64, W=64))
    for number in range(4):
        images = [StoredImage(f"{number}-{sample}.png", sample) for sample in range(4)]
        jobs.claims.finish(jobs.claims.claim("one", number), images, {"device": "cpu"}, [])
    jobs.close("one", None)

    fields = jobs.redis.hgetall("pd:job:one")

    size = sum(len(text.encode()) for field in fields.items() for text in field)
    assert size < len(EMOJI.encode()) + 5000
    assert jobs.get("one").prompts == (EMOJI,) * 16
    assert size < record_bytes(jobs.get("one").request), "what was counted on acceptance suffices"


def test_tasks_that_were_not_begun_take_nothing(jobs, generate):
    """Given an accepted job, when its record is looked at, then it has no field a task."""
    jobs.accept("one", generate(n_iter=16))
    assert not [field for field in jobs.redis.hkeys("pd:job:one") if field.startswith("row:")]
    assert len(jobs.get("one").tasks) == 16


def test_images_of_an_older_version_can_be_read(jobs, generate):
    """Given a task that has its prompt with each image, when it is read, then its images are there."""
    jobs.accept("one", generate())
    jobs.claims.finish(jobs.claims.claim("one", 0), [StoredImage("a.png", 1)], {}, [])
    task = json.loads(jobs.redis.hget("pd:job:one", "row:0"))
    task["images"] = [image | {"prompt": "a cat"} for image in task["images"]]
    jobs.redis.hset("pd:job:one", "row:0", json.dumps(task))
    assert jobs.get("one").images == (StoredImage("a.png", 1),)
    assert jobs.get("one").prompts == ("a cat",)


def test_a_job_whose_record_is_too_large_is_refused(redis_client, generate, clock):
    """Given a bound for one record, when a larger job is offered, then it is refused by name, nothing is written."""
    small, large = generate(seed=1), generate(prompt=EMOJI, seed=1)
    store = JobStore(redis_client, most_job_bytes=record_bytes(small), clock=clock)
    assert store.accept("small", small)
    for offer in (lambda: store.accept("large", large), lambda: store.require_room(large, "")):
        with pytest.raises(TooCostly, match="shorten the prompts"):
            offer()
    assert not store.is_known("large")


def test_the_records_of_one_key_are_bounded_until_they_expire(redis_client, generate, clock):
    """Given a key whose records take all they may, when more comes, then it is refused until one has expired."""
    request = generate(seed=1)
    store = JobStore(redis_client, result_ttl_s=100, most=Most(owned_bytes=2 * record_bytes(request)), clock=clock)
    assert store.accept("a", request, "alice")
    assert store.accept("b", request, "alice")
    with pytest.raises(TooManyJobs, match="shorter prompts") as refused:
        store.accept("c", request, "alice")
    assert refused.value.retry_after_s > 0
    assert store.accept("of another", request, "bob:with:colons")
    store.cancel("a")
    with pytest.raises(TooManyJobs):
        store.accept("c", request, "alice")
    clock.now += 101
    assert store.accept("c", request, "alice")
    with pytest.raises(TooManyJobs):
        store.accept("d", request, "alice")


def test_what_has_expired_is_counted_no_more(redis_client, generate, clock):
    """Given keys whose records have all expired, when anybody submits, then nothing of them is left in the counts."""
    store = JobStore(redis_client, result_ttl_s=100, most=Most(owned_bytes=10**6), clock=clock)
    for number in range(30):
        store.accept(f"old {number}", generate(), f"owner {number % 3}")
        store.cancel(f"old {number}")
    clock.now += 101
    store.accept("new", generate(), "owner new")
    assert store.redis.hkeys("pd:backlog:bytes") == ["owner new"]
    assert store.redis.zcard("pd:backlog:kept") == 1


@pytest.mark.parametrize("ending", ["cancel", "success"])
def test_an_input_image_goes_when_its_job_ends(jobs, img2img, ending):
    """Given a job with an input image, when it waits or runs, then it stays; when it ends, it is due at once."""
    jobs.will_expire("one")
    jobs.accept("one", img2img()[0])
    claim = jobs.claims.claim("one", 0)
    assert jobs.folders.due() == []
    if ending == "cancel":
        jobs.cancel("one")
    else:
        jobs.claims.finish(claim, [StoredImage("a.png", 1)], {}, [])
        jobs.close("one", None)
    assert jobs.folders.due() == [".expiring/inputs/one"]
