"""What every dialect is built on: one submission with a translation, its own rule for retries, a wait with a place."""

import base64
import io

import pytest
from flask import request as http_request

from api.app import create_app
from api.submission.idempotency import field_key, header_key, marked_retry
from api.submission.submit import renamed, take
from api.submission.waiting import take_and_wait
from shared.errors import InvalidRequest, MalformedForm, TooManyWaiting
from shared.jobs.records import State
from shared.request.schemas import GenerateSchema, Img2ImgSchema
from shared.settings import DUMMY_API_KEY
from tests.api.conftest import encoded_image

KEY = {"Authorization": f"Bearer {DUMMY_API_KEY}"}


def encoded():
    """An image as a body has it."""
    return base64.b64encode(encoded_image("png", size=(64, 64))).decode()


def translate(caller):
    """A dialect that calls the prompt `text` and the steps `n`."""
    return {"prompt": caller.body.get("text"), "ddim_steps": caller.body.get("n", 20)}


class Dialect:
    """Submits what a client of a dialect posts, within one API process."""

    def __init__(self, world, **settings):
        self.services = world.build(**settings)
        self.app = create_app(self.services)

    def submit(self, body, headers=(), do=take, **how):
        with self.app.test_request_context("/door", method="POST", json=body, headers=KEY | dict(headers)):
            schema = GenerateSchema(self.services.limits)
            return do(self.services, http_request, schema, **{"translate": translate} | how)

    def post_form(self, data, **how):
        with self.app.test_request_context("/door", method="POST", data=data, headers=KEY):
            return take(self.services, http_request, Img2ImgSchema(self.services.limits), forms=True, **how)

    def retry(self, body, count):
        return self.submit(body, {"x-stainless-retry-count": str(count)}, recognise=marked_retry)


@pytest.fixture
def dialect(world):
    return Dialect(world)


def test_a_translated_body_is_the_request_that_native_would_make(world, dialect):
    """Given a dialect's body, when it is taken, then the job is that of the same native body, and names its owner."""
    taken = dialect.submit({"text": "a cat", "n": 7})

    job = world.services.jobs.get(taken.job_id)
    assert (job.request.prompts, job.request.params.steps, job.owner) == (("a cat",), 7, taken.owner)
    assert job.request == taken.request


def test_errors_of_the_schema_can_be_told_in_the_dialects_names(dialect):
    """Given a bad field, when its error is renamed, then only the names differ, and the original is left alone."""
    with pytest.raises(InvalidRequest) as native:
        dialect.submit({"n": 0})

    told = renamed(native.value, {"ddim_steps": "n"})
    assert set(native.value.fields) == {"ddim_steps", "prompt"}
    assert set(told.fields) == {"n", "prompt"}
    assert (type(told), told.message) == (InvalidRequest, native.value.message)


def test_a_form_brings_texts_and_files(world, dialect, image_text):
    """Given a form in parts with a file, when it is taken, then its texts and the file's bytes reach the dialect."""
    seen = []

    def edit(caller):
        seen.append(caller.body)
        return {"prompt": caller.body["prompt"], "init_img": caller.body["image[]"][0]}

    png = base64.b64decode(image_text)
    files = [(io.BytesIO(png), "a.png"), (io.BytesIO(b"second"), "b.png")]
    taken = dialect.post_form({"prompt": "a cat", "image[]": files}, translate=edit)

    assert seen == [{"prompt": "a cat", "image[]": [png, b"second"]}]
    assert world.services.jobs.get(taken.job_id).request.kind == "img2img"


@pytest.mark.parametrize(
    ("kind", "data", "error"),
    [
        ("multipart/form-data", b"--x\r\n", MalformedForm),
        ("multipart/form-data; boundary=x", b"no parts at all", MalformedForm),
        ("multipart/form-data; boundary=x", b"", InvalidRequest),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nheadless\r\n--x--\r\n", MalformedForm),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n",
            MalformedForm,
        ),
        (
            "multipart/form-data; boundary=x",
            b"".join(b'--x\r\nContent-Disposition: form-data; name="%d"\r\n\r\nv\r\n' % n for n in range(1000))
            + b"--x--\r\n",
            MalformedForm,
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 2 + b"--x--\r\n",
            InvalidRequest,
        ),
    ],
    ids=["no boundary", "no parts", "empty", "no head", "no name", "a thousand parts", "a name twice"],
)
def test_a_form_that_cannot_be_read_is_an_error_of_the_client(dialect, kind, data, error):
    """Given a form without boundary, without parts, with too many or with a name twice, then it is refused as such."""
    with (
        dialect.app.test_request_context("/door", method="POST", data=data, content_type=kind, headers=KEY),
        pytest.raises(error),
    ):
        take(dialect.services, http_request, GenerateSchema(dialect.services.limits), forms=True)


def test_equal_requests_without_a_mark_stay_separate(dialect):
    """Given equal requests with a seed, when none is marked as a retry, then each is a job of its own."""
    body = {"text": "a cat", "seed": 3}

    assert len({dialect.submit(body, recognise=marked_retry).job_id for _ in range(3)}) == 3
    assert len({dialect.submit(body, recognise=header_key).job_id for _ in range(3)}) == 3


def test_a_marked_retry_joins_its_job_running_or_done(world, dialect):
    """Given a first try, when retries come, also to another process and after the end, then all stand for its job."""
    first = dialect.submit({"text": "a cat"}, recognise=marked_retry)

    assert not first.replayed
    again = Dialect(world).retry({"text": "a cat"}, 1)
    assert (again.job_id, again.replayed, again.request) == (first.job_id, True, first.request)
    world.work(first.job_id)
    assert dialect.retry({"text": "a cat"}, 2).job_id == first.job_id
    assert dialect.retry({"text": "a dog"}, 1).job_id != first.job_id
    assert len(world.queue.messages) == 2


def test_retries_of_two_equal_requests_get_a_job_each(dialect):
    """Given two equal first tries, when both are retried, twice, then no job is joined by both at the same try."""
    jobs = {dialect.submit({"text": "a cat"}, recognise=marked_retry).job_id for _ in range(2)}

    assert {dialect.retry({"text": "a cat"}, 1).job_id for _ in range(2)} == jobs
    assert {dialect.retry({"text": "a cat"}, 2).job_id for _ in range(2)} == jobs


def test_a_retry_whose_first_try_never_arrived_is_a_job(world, dialect):
    """Given a retry without an earlier try, then it is accepted, and the next retry joins it."""
    taken = dialect.retry({"text": "a cat"}, 1)

    assert not taken.replayed
    assert dialect.retry({"text": "a cat"}, 2).job_id == taken.job_id
    assert len(world.queue.messages) == 1


def test_a_retry_of_a_cancelled_job_is_a_new_one(world, dialect):
    """Given a job that was cancelled, when its retry comes, then a new job is queued, and the next retry joins that."""
    first = dialect.submit({"text": "a cat"}, recognise=marked_retry)
    world.services.jobs.cancel(first.job_id)

    second = dialect.retry({"text": "a cat"}, 1)
    assert (second.job_id != first.job_id, second.replayed) == (True, False)
    assert world.services.jobs.get(second.job_id).state is State.PENDING
    assert dialect.retry({"text": "a cat"}, 2).job_id == second.job_id


def test_a_refused_first_try_does_not_stand_in_the_way(world):
    """Given a first try that the full queue refused, when the retry comes later, then it is accepted."""
    dialect = Dialect(world, max_waiting_jobs=1)
    blocking = dialect.submit({"text": "a dog"}, recognise=marked_retry).job_id
    with pytest.raises(Exception, match="wait"):
        dialect.submit({"text": "a cat"}, recognise=marked_retry)
    world.services.jobs.cancel(blocking)

    assert not dialect.retry({"text": "a cat"}, 1).replayed


@pytest.mark.parametrize("mark", ["", "-1", "x", "1e3", "99999999999999999999", "\u0661"])
def test_a_mark_that_is_no_count_marks_nothing(dialect, mark):
    """Given a mark that is no small number, when equal requests carry it, then they stay separate."""
    headers = {"x-stainless-retry-count": mark.encode().decode("latin-1")}

    assert len({dialect.submit({"text": "a"}, headers, recognise=marked_retry).job_id for _ in range(2)}) == 2


def test_owners_do_not_meet_in_a_retry(world):
    """Given two keys, when both send the same request, then a retry of one does not join the other's job."""
    dialect = Dialect(world, api_keys=("one", "two"))
    first = dialect.submit({"text": "a cat"}, {"Authorization": "Bearer one"}, recognise=marked_retry)

    mark = {"x-stainless-retry-count": "1", "Authorization": "Bearer two"}
    assert dialect.submit({"text": "a cat"}, mark, recognise=marked_retry).job_id != first.job_id


def test_a_key_in_the_body_stands_for_the_job(dialect):
    """Given a dialect whose key is a field, when the request comes again with it, then it is the same job; the header
    goes first, and null is no key."""

    def post(value, headers=()):
        body = {"text": "a cat", "force_task_id": value}
        return dialect.submit(body, headers, recognise=field_key("force_task_id"))

    first = post("t1")
    assert post("t1").job_id == first.job_id
    assert post(None).job_id != post(None).job_id
    assert post("t1", {"Idempotency-Key": "k"}).job_id != first.job_id
    with pytest.raises(InvalidRequest) as wrong:
        post(["t1"])
    assert list(wrong.value.fields) == ["force_task_id"]


def test_a_wait_gives_the_ended_job(world):
    """Given a worker at hand, when a dialect waits, then it gets the job as it ended."""
    dialect = Dialect(world, sync_timeout_s=30.0)
    world.play_worker(lambda job_id: world.work(job_id))

    waited = dialect.submit({"text": "a cat"}, do=take_and_wait)

    assert (waited.job.id, waited.job.state) == (waited.taken.job_id, State.SUCCESS)


def test_without_a_place_to_wait_nothing_is_queued(world):
    """Given no place, when a dialect would wait, then it is refused with a time within a minute, and nothing waits."""
    dialect = Dialect(world, sync_waiters=0)

    with pytest.raises(TooManyWaiting) as refused:
        dialect.submit({"text": "a cat"}, do=take_and_wait)

    assert 0 < refused.value.retry_after_s <= 60
    assert world.queue.messages == []


def test_every_answer_names_its_job(world):
    """Given an accepted request, when its answer is looked at, then X-Task-Id is the job's."""
    answer = world.post()

    assert answer.headers["X-Task-Id"] == answer.json["task_id"]


@pytest.mark.parametrize("given", [{"mask": encoded()}, {"expand": {"left": 64}}], ids=["mask", "expand"])
def test_a_part_to_be_drawn_anew_is_queued_with_its_images(world, given):
    """Given a mask, or sides to go beyond, when asked for, then it is queued, with the mask among the input images."""
    answer = world.client.post("/img2img", json={"prompt": "x", "init_img": encoded(), **given}, headers=KEY)
    assert answer.status_code == 202
    request = world.services.jobs.get(answer.json["task_id"]).request
    assert request.inputs == ("init_img", *("mask" for name in given if name == "mask"))
    assert request.result_size == ((128, 64) if "expand" in given else (64, 64))
