"""The Python client and its asynchronous twin, against a stand-in for the service."""

import asyncio
import base64
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from client import AsyncClient, Client
from client.bodies import body_of
from client.errors import BadAnswer, JobCancelled, JobFailed, NotAnImageFile, Refused, ServerAway
from client.wire import Event
from tests.client.stub import DONE, FAILED, KEY, WAITING, WORKING, Reply, Stub, png
from tests.e2e.service import free_port


@pytest.fixture
def client(stub: Stub) -> Iterator[Client]:
    with Client(stub.url, KEY, retry_s=20) as client:
        yield client


def test_a_job_gives_its_images(client: Client, stub: Stub, tmp_path: Path) -> None:
    """Given a request, when its images are asked for, then the job is waited for, and they are decoded and saved."""
    job = client.generate("a cat", steps=20, n_samples=2, seed=7)

    assert [image.size for image in job.images] == [(8, 8), (8, 8)]
    assert job.seeds == (7, 8)
    assert [path.name for path in job.save(tmp_path)] == ["0000-7.png", "0001-8.png"]
    assert (tmp_path / "0001-8.png").read_bytes() == job.files[1][1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000-7.png", "0001-8.png"]
    assert job.grid is None
    (body,) = stub.posts()
    assert (body["ddim_steps"], body["prompt"], body["synchronous_request"]) == (20, "a cat", False)


def test_parameters_have_either_name(client: Client, stub: Stub) -> None:
    """Given names of the wire, of the code, and of a newer service, then the body has those of the wire."""
    client.generate("a cat", guidance_scale=3, W=64, height=128, model="sd15", lora_of_next_year=1)
    (body,) = stub.posts()
    assert {"scale": 3, "W": 64, "H": 128, "ckpt": "sd15", "lora_of_next_year": 1}.items() <= body.items()
    with pytest.raises(TypeError, match="ddim_steps"):
        client.generate("a cat", steps=3, ddim_steps=4)


def test_progress_is_told(client: Client) -> None:
    """Given a job that waits, works and ends, when waited for, then each is told once, with place, step and ETA."""
    seen: list[Event] = []
    client.generate("a cat").wait(seen.append)
    assert [(event.kind, event.position, event.step, event.eta_s) for event in seen] == [
        ("progress", None, 7, 4.0),
        ("done", None, 20, None),
    ]


def test_events_of_the_service_are_told(client: Client, stub: Stub) -> None:
    """Given a service that tells events, then these come, previews decoded, unknown ones left out, the end last."""
    small = base64.b64encode(b"jpeg").decode()
    stub.states = [WAITING, DONE]
    stub.events = lambda _: [
        ("queued", {"Position": 2, "ETA": 5.0}),
        ("weather", {"rain": True}),
        ("progress", {"Step": 3, "Steps": 20, "Progress": 0.15, "ETA": None}),
        ("preview", {"Image": small}),
        ("done", {}),
    ]

    events = list(client.generate("a cat").events())

    assert [event.kind for event in events] == ["queued", "progress", "preview", "done"]
    assert (events[0].position, events[1].steps, events[2].preview) == (2, 20, b"jpeg")
    assert sum(path.startswith("/status") for _, path, _, _ in stub.seen) == 2


def test_a_stream_that_ends_early_is_opened_again(client: Client, stub: Stub) -> None:
    """Given a stream that ends before the job does, then it is opened again after the last event, and the end comes."""
    stub.states = [WAITING, WORKING, DONE]
    stub.events = lambda _: [("progress", {"Step": 3, "Steps": 20, "Progress": 0.15, "ETA": None})]

    events = list(client.generate("a cat").events())

    assert [event.kind for event in events] == ["progress", "progress", "done"]
    again = [headers.get("Last-Event-ID") for _, path, headers, _ in stub.seen if path.startswith("/events")]
    assert again == [None, "1"]


@pytest.mark.parametrize(
    "loss",
    [
        Reply(drop=True, takes=True),
        Reply(drop=True),
        Reply.error(503, "service_unavailable"),
        Reply(502, b"<html>Bad gateway", "text/html", takes=True),
    ],
)
def test_a_lost_answer_makes_no_second_job(client: Client, stub: Stub, loss: Reply) -> None:
    """Given an answer that is lost, when the client asks again by itself, then with the same key: there is one job."""
    client.models()
    stub.replies["/generate"].append(loss)

    job = client.generate("a cat")

    assert list(stub.jobs) == [job.id]
    keys = [headers["Idempotency-Key"] for method, _, headers, _ in stub.seen if method == "POST"]
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_service_that_restarts_is_waited_for(client: Client, stub: Stub) -> None:
    """Given connections that break and a 503 while a job is waited for, then the wait goes on to the images."""
    job = client.generate("a cat")
    stub.replies["/status"].extend([Reply(drop=True), Reply.error(503, "service_unavailable"), Reply(drop=True)])
    stub.replies["/events"].append(Reply(drop=True))
    stub.replies["/images"].append(Reply(drop=True))
    assert len(job.images) == 1


def test_two_requests_are_two_jobs(client: Client) -> None:
    """Given the same request twice, then there are two jobs; with the same key of the caller's, one."""
    assert client.generate("a cat").id != client.generate("a cat").id
    again = [client.generate("a cat", idempotency_key="mine").id for _ in range(2)]
    assert again[0] == again[1]


def test_a_full_queue_is_asked_again_when_it_says(client: Client, stub: Stub) -> None:
    """Given 429 with Retry-After beyond the patience, then the refusal is raised at once; within it, it is retried."""
    stub.replies["/generate"].append(Reply.error(429, "queue_full", "Full.", Retry_After="60"))
    with pytest.raises(Refused, match="Full") as refused:
        client.generate("a cat")
    assert (refused.value.code, refused.value.retry_after_s) == ("queue_full", 60)

    stub.replies["/generate"].append(Reply.error(429, "queue_full", "Full.", Retry_After="0"))
    assert client.generate("a cat").wait()


def test_a_refusal_names_the_fields(client: Client, stub: Stub) -> None:
    """Given an answer of 400, then the error is its sentence with every field, and nothing is sent again."""
    wrong = b'{"error": "No.", "code": "invalid_request", "fields": {"H": ["Must be a multiple of 8."]}}'
    stub.replies["/generate"].append(Reply(400, wrong))
    with pytest.raises(Refused, match=r"No\. H: Must be a multiple of 8\.") as refused:
        client.generate("a cat", H=65)
    assert refused.value.status == 400
    assert len(stub.posts()) == 1


def test_a_job_that_fails_says_why(client: Client, stub: Stub) -> None:
    """Given a job that fails, when its images are asked for, then JobFailed with the reason and the code."""
    stub.states = [FAILED]
    with pytest.raises(JobFailed, match="The device cannot hold it") as failed:
        _ = client.generate("a cat").images
    assert (failed.value.code, failed.value.job_id) == ("out_of_memory", "job1")


def test_a_cancelled_job_says_so(client: Client) -> None:
    """Given a job, when it is cancelled, then its state says so, and waiting for it raises JobCancelled."""
    job = client.generate("a cat")
    assert job.cancel().state == "REVOKED"
    with pytest.raises(JobCancelled):
        job.wait()


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html>hello", "text/html"),
        Reply(200, b'{"half', "application/json"),
        Reply(202, b'{"answer": 42}', "application/json"),
        Reply(500, b"oh", "text/plain"),
        Reply(301, b"", "text/html", {"Location": "https://example.org/"}),
    ],
)
def test_an_answer_of_something_else_is_told(client: Client, stub: Stub, reply: Reply) -> None:
    """Given an answer that is no JSON of the service, then BadAnswer names the address."""
    stub.replies["/generate"].append(reply)
    with pytest.raises(BadAnswer, match=f"{stub.url}/generate does not answer like this service"):
        client.generate("a cat")


def test_nobody_at_the_address_is_told() -> None:
    """Given an address at which nobody listens, then ServerAway names it."""
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url, retry_s=0) as client, pytest.raises(ServerAway, match=url):
        client.models()


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://[", "http://a b", "http://a?b", "http://a:x"])
def test_what_is_no_address_is_told(url: str) -> None:
    """Given an address that can be none, then BadAnswer says how one is written."""
    with pytest.raises(BadAnswer, match=r"http://127\.0\.0\.1:5001"):
        Client(url)


def test_an_input_image_comes_in_any_form(client: Client, stub: Stub, tmp_path: Path) -> None:
    """Given a file, its bytes or a Pillow image, when posted, then the same image goes to /img2img."""
    data = png()
    (tmp_path / "in.png").write_bytes(data)
    for source in (tmp_path / "in.png", str(tmp_path / "in.png"), data, Image.open(io.BytesIO(data))):
        client.img2img(source, "a dog", strength=0.5)
    client.submit("/img2img", body_of("img2img", {"init_img": tmp_path / "in.png", "denoising_strength": 0.5}))
    for body in stub.posts():
        with Image.open(io.BytesIO(base64.b64decode(body["init_img"]))) as sent:
            assert (sent.format, sent.size, sent.getpixel((0, 0))) == ("PNG", (8, 8), (255, 0, 0))
        assert body["denoising_strength"] == 0.5


def test_a_file_that_is_no_image_is_told(client: Client, tmp_path: Path) -> None:
    """Given a file that is none, or no image, then NotAnImageFile names it and nothing is sent."""
    (tmp_path / "no.png").write_text("hello")
    with pytest.raises(NotAnImageFile, match="no image"):
        client.img2img(tmp_path / "no.png", "a dog")
    with pytest.raises(NotAnImageFile, match=r"there\.png cannot be read"):
        client.img2img(tmp_path / "there.png", "a dog")


def test_the_key_goes_to_the_service_alone(client: Client, stub: Stub) -> None:
    """Given a link to another host, when it is fetched, then the key is not shown there."""
    other = Stub()
    try:
        stub.link = f"{other.url}/models?signature=x"
        assert client.generate("a cat").files
        assert [headers.get("X-API-Key") for _, _, headers, _ in other.seen] == [None]
        assert {headers.get("X-API-Key") for _, _, headers, _ in stub.seen} == {KEY}
    finally:
        other.close()


@pytest.mark.parametrize("name", ["..", ".bashrc", "a b", "", "x" * 200])
def test_an_image_has_the_plain_name_of_a_file(client: Client, stub: Stub, tmp_path: Path, name: str) -> None:
    """Given a service that names an image like a folder or a hidden file, then BadAnswer, and nothing is written."""
    stub.link = f"/images/job1/{name}"
    with pytest.raises(BadAnswer, match="name"):
        client.generate("a cat").save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_asynchronous_twin_does_the_same(stub: Stub) -> None:
    """Given the asynchronous client, then jobs, events, images, cancelling and errors are those of the other."""

    async def use() -> None:
        async with AsyncClient(stub.url, KEY, retry_s=20) as client:
            job = await client.generate("a cat", steps=3, seed=7)
            assert [event.kind async for event in job.events()] == ["progress", "done"]
            assert [image.size for image in await job.images()] == [(8, 8)]
            assert (await job.status()).seeds == (7,)
            stub.states = [WAITING, WORKING]
            stub.events = lambda _: [("queued", {"Position": 2, "ETA": 5.0})]
            other = await client.img2img(png(), "a dog")
            assert (await anext(other.events())).position == 2
            assert (await other.cancel()).state == "REVOKED"
            with pytest.raises(JobCancelled):
                await other.wait()
            stub.replies["/generate"].append(Reply(drop=True, takes=True))
            await client.generate("a cat")
            assert len(stub.jobs) == 3
            assert (await client.models())["default"] == (await client.models())["default"] == "demo"
            assert (await client.samplers())["default"] == "ddim"
            stub.replies["/generate"].append(Reply.error(401, "unauthorized"))
            with pytest.raises(Refused):
                await client.generate("a cat")

    asyncio.run(use())
