"""Getting the images out of a running service: by link, as a zip, by being called back, and out of a bucket."""

import base64
import hashlib
import hmac
import io
import json
import time
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from PIL import Image

from tests.e2e.conftest import CALLBACK_SECRET
from tests.e2e.service import Service
from tests.receiver import Receiver

SMALL: dict[str, Any] = {"prompt": "a red circle", "H": 64, "W": 64, "ddim_steps": 2, "return_base64": True}
ServiceFactory = Callable[..., Service]


def until(what: Callable[[], Any], timeout_s: float = 60) -> Any:
    """Ask until the answer is something; fails after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def test_an_image_in_two_parts_and_not_twice(service: Service) -> None:
    """Given a finished image, when fetched in two ranges and asked for again, then they fit, and 304."""
    link = service.wait(service.submit(**SMALL)).json()["Images"][0]
    whole = service.get(link, key=None)
    first = service.get(link, key=None, headers={"Range": "bytes=0-99"})
    rest = service.get(link, key=None, headers={"Range": "bytes=100-", "If-Range": whole.headers["ETag"]})
    assert (first.status_code, rest.status_code, first.content + rest.content) == (206, 206, whole.content)
    assert Image.open(io.BytesIO(whole.content)).size == (64, 64)
    again = service.get(link, key=None, headers={"If-None-Match": whole.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_job_comes_as_one_zip(service: Service) -> None:
    """Given a prompt file and a grid, when the job is downloaded, then all of it is in a zip that was streamed."""
    (service.prompts_dir / "zip.txt").write_text("a red circle\na blue square\n")
    body = SMALL | {"from-file": "zip.txt", "seed": 3, "skip_grid": False}
    del body["prompt"]
    answer = service.wait(service.submit(**body)).json()
    download = service.get(answer["Download"], key=None)
    assert download.headers["Transfer-Encoding"] == "chunked"
    with zipfile.ZipFile(io.BytesIO(download.content)) as found:
        assert found.namelist() == ["input.txt", "parameters.json", "0000-3.png", "0001-4.png", "grid.png"]
        assert found.read("input.txt").decode() == "a red circle\na blue square\n"
        assert json.loads(found.read("parameters.json"))["seed"] == 3
        for link in [*answer["Images"], answer["Grid_image"]]:
            assert found.read(link.rpartition("/")[2]) == service.get(link).content


def test_the_caller_is_told_of_the_end(service: Service) -> None:
    """Given a callback_url that first answers 503, when the job ends, then it gets what /status says, signed."""
    with Receiver() as receiver:
        receiver.statuses = [503]
        task = service.submit(**SMALL, callback_url=receiver.url("/done"))
        status = service.wait(task).json()
        until(lambda: len(receiver.calls) == 2)
        path, headers, body = receiver.calls[1]
    assert (path, headers["X-Task-Id"], headers["X-Attempt"]) == ("/done", task, "2")
    assert json.loads(body) == status
    stamp, digest = (part.partition("=")[2] for part in headers["X-Signature"].split(","))
    assert digest == hmac.new(CALLBACK_SECRET.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    refused = service.post("/generate", SMALL | {"callback_url": "http://localhost:6379/"})
    assert (refused.status_code, refused.json()["code"]) == (422, "callback_refused")


def test_workers_tell_about_themselves(service: Service) -> None:
    """Given a live worker, when asked with the key, then it says what it is, has and does; /ready says so in short."""
    (card,) = service.get("/workers").json()["workers"]
    assert (card["variant"], card["device"], card["serves"]) == ("cpu", "cpu", ["standard", "optimized"])
    assert "demo" in card["warm_models"]
    assert card["free_memory"] > 0
    assert 0 <= card["rows"] <= card["slots"]
    assert service.get("/ready").json()["workers"][0]["name"] == card["name"]
    assert service.get("/workers", key=None).status_code == 401


@pytest.mark.full
def test_images_in_a_bucket(make_service: ServiceFactory, s3_environment: Mapping[str, str]) -> None:
    """Given S3 as the result store, when jobs run, then images come through the API, as a zip, and by signed links.

    Many at once, because the API's clients share one thread.
    """
    service = make_service(OUTPUT_DIR="s3://images/of/ours", PRESIGNED_LINKS_S="300", **s3_environment)
    body = SMALL | {"n_iter": 3, "skip_grid": False, "seed": 5}
    tasks = [service.submit(**body), service.submit(**body | {"skip_save": True})]
    first, second = (service.wait(task).json() for task in tasks)
    for link in [*first["Images"], first["Grid_image"], *second["Images"]]:
        assert link.startswith(f"{s3_environment['AWS_ENDPOINT_URL']}/images/of/ours/")
        assert "X-Amz-Signature=" in link
    for answer in (first, second):
        for link, text in zip(answer["Images"], answer["Image"], strict=True):
            assert requests.get(link, timeout=30).content == base64.b64decode(text)
    straight = base64.b64decode(first["Image"][0])
    link = f"/images/{tasks[0]}/0000-5.png"
    assert Image.open(io.BytesIO(straight)).size == (64, 64)
    part = service.get(link, headers={"Range": "bytes=-50"})
    assert (part.status_code, part.content) == (206, straight[-50:])
    assert service.get(link, headers={"If-None-Match": part.headers["ETag"]}).status_code == 304
    with ThreadPoolExecutor(8) as clients:
        downloads = list(clients.map(lambda _: requests.get(service.url + first["Download"], timeout=60), range(8)))
    for download in downloads:
        with zipfile.ZipFile(io.BytesIO(download.content)) as found:
            assert found.read("0000-5.png") == straight
            assert len(found.namelist()) == 6
    redrawn = service.wait(service.submit("/img2img", **SMALL, init_img=first["Image"][0])).json()
    assert redrawn["State"] == "SUCCESS", redrawn
