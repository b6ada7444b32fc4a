"""Requests that are made to break in, to break something, or to forge what is logged."""

import base64
import json
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from marshmallow import fields
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from shared.catalogue.entries import load_catalogue
from shared.request.limits import Limits
from shared.request.schemas import GenerateSchema, Img2ImgSchema
from shared.settings import DUMMY_API_KEY
from tests.chaos import hostile
from tests.chaos.conftest import Scale
from tests.chaos.traffic import TINY, until
from tests.e2e.service import Service
from tests.e2e.test_decoding import descendants

Keep = Callable[..., None]
ANSWERS_WITHIN_S = 60
MOST_PIXELS = 16_000_000
MEMORY_LIMIT_MB = 1024  # of the API's container
PNG = base64.b64encode(next(hostile.images(MOST_PIXELS)).data).decode()


@pytest.fixture(scope="module")
def service(redis_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One worker and one API that log everything as text, and an API that logs JSON."""
    service = Service(tmp_path_factory.mktemp("hostile"), redis_server, MAX_WAITING_JOBS="0", LOG_LEVEL="DEBUG")
    (service.folder / "secret.txt").write_text("a secret file")
    try:
        service.start_redis()
        service.start_worker()
        service.start_api()
        service.start_api(LOG_FORMAT="json")
        service.wait_ready()
        yield service
    finally:
        service.close()


def most_memory_mb(service: Service) -> int:
    """The most resident memory that the processes of the first API ever had, all of those that live together."""
    found = [re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{each}/status").read_text())
             for each in descendants(service.apis[0].child.pid)]  # fmt: skip
    return sum(int(match[1]) for match in found if match) // 1024


def all_done(service: Service) -> None:
    until(lambda: service.get("/ready").json()["waiting"] == 0, 300, "not all that was accepted is drawn")


def post_image(service: Service, data: bytes) -> Any:
    body = TINY | {"init_img": base64.b64encode(data).decode(), "ddim_steps": 1, "skip_save": True}
    return service.post("/img2img", body)


def post_mask(service: Service, data: bytes) -> Any:
    body = TINY | {"init_img": PNG, "mask": base64.b64encode(data).decode(), "ddim_steps": 1, "skip_save": True}
    return service.post("/img2img", body)


def post_control_image(service: Service, data: bytes) -> Any:
    control = {"model": "demo-outline", "image": base64.b64encode(data).decode(), "preprocess": "canny"}
    return service.post("/generate", TINY | {"controlnet": [control], "ddim_steps": 1, "skip_save": True})


#: How an image is sent, by the field that it is refused by.
DOORS: Mapping[str, Callable[[Service, bytes], Any]] = {
    "init_img": post_image, "mask": post_mask, "controlnet": post_control_image,
}  # fmt: skip


def test_hostile_images_are_drawn_or_refused(service: Service, scale: Scale, keep_figures: Keep) -> None:
    """Given bombs, halves, lies and odd kinds of images, when they are sent to be drawn on, as masks and as control
    images, then each is drawn with, or refused by the name of its field, and the API's memory stays within what its
    container has."""
    before = most_memory_mb(service)
    doors, drawn, slowest = tuple(DOORS), {}, 0.0
    for number, image in enumerate(hostile.images(MOST_PIXELS)):
        for field in scale((doors[number % len(doors)],), doors):
            begun = time.monotonic()
            answer = DOORS[field](service, image.data)
            slowest = max(slowest, time.monotonic() - begun)
            if image.good:
                assert answer.status_code == 202, (image.name, field, answer.text[:300])
                drawn[image.name, field] = answer.json()["task_id"]
            else:
                assert (answer.status_code, list(answer.json()["fields"])) == (400, [field]), (image.name, field)
    for name, job_id in drawn.items():
        assert service.wait(job_id).json()["State"] == "SUCCESS", name
    answers = _mutated(service, scale(30, 15_000))
    all_done(service)
    most = most_memory_mb(service)
    assert most < MEMORY_LIMIT_MB
    keep_figures(
        corpus=len(list(hostile.images(MOST_PIXELS))), drawn=dict(Counter(field for _, field in drawn)),
        mutated={field: sum(of.values()) for field, of in answers.items()},
        mutated_accepted={field: of[202] for field, of in answers.items()},
        answers_5xx=0, slowest_answer_s=round(slowest, 1), api_memory_mb={"at_the_start": before, "most": most},
    )  # fmt: skip


def test_hostile_images_are_read_or_refused(service: Service) -> None:
    """Given the same images, and such as carry parameters that are made to break who reads them, when `/metadata` and
    A1111's png-info read them, then each is read, or refused by the name of its field, and nothing is taken that is
    not of an image."""
    for image in (*hostile.images(MOST_PIXELS), *hostile.receipts()):
        body = {"image": base64.b64encode(image.data).decode()}
        answer = service.post("/metadata", body)
        assert answer.status_code in ((200,) if image.good else (200, 400)), (image.name, answer.text[:300])
        if answer.status_code == 400:
            assert list(answer.json()["fields"]) == ["image"], image.name
        else:
            assert not {"callback_url", "outdir", "api_key"} & answer.json()["parameters"].keys(), image.name
        assert service.post("/sdapi/v1/png-info", body).status_code in (200, 422), image.name
    assert most_memory_mb(service) < MEMORY_LIMIT_MB


def test_hostile_images_are_enlarged_or_refused(service: Service) -> None:
    """Given the same images, when they are to be enlarged, then each is, or is refused by the name of its field or for
    what it would cost, and the API's memory stays within what its container has."""
    jobs = {}
    for image in hostile.images(MOST_PIXELS):
        body = {"image": base64.b64encode(image.data).decode(), "factor": 1.5, "skip_save": True, "return_base64": True}
        answer = service.post("/upscale", body)
        if image.good:
            assert answer.status_code == 202, (image.name, answer.text[:300])
            jobs[image.name] = answer.json()["task_id"]
        else:
            assert (answer.status_code, list(answer.json()["fields"])) == (400, ["image"]), image.name
    for name, job_id in jobs.items():
        assert service.wait(job_id).json()["State"] == "SUCCESS", name
    assert most_memory_mb(service) < MEMORY_LIMIT_MB


def _mutated(service: Service, count: int) -> Mapping[str, Counter[int]]:
    """Answers, by field, to valid files of which some bytes are others, are gone, or stand twice."""
    whole = [image.data for image in hostile.images(10_000) if image.good and len(image.data) < 50_000]
    answers = {field: Counter[int]() for field in DOORS}
    place, length, value = st.floats(0, 1), st.integers(1, 40), st.integers(0, 255)
    edits = st.lists(st.tuples(st.sampled_from(("set", "cut", "twice")), place, length, value), max_size=12)

    @settings(
        max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.sampled_from(tuple(DOORS)), st.sampled_from(whole), edits)
    def send(field: str, file: bytes, edits: list[tuple[str, float, int, int]]) -> None:
        data = bytearray(file)
        for edit, place, length, value in edits:
            at = int(place * max(0, len(data) - 1))
            piece = data[at : at + length]
            data[at : at + length] = {"set": bytes([value]) + piece[1:], "cut": b"", "twice": piece + piece}[edit]
        answer = DOORS[field](service, bytes(data))
        answers[field][answer.status_code] += 1
        assert answer.status_code in (202, 400)
        assert answer.status_code == 202 or list(answer.json()["fields"]) == [field], answer.text[:300]

    send()
    return answers


def test_bodies_that_grow_when_they_are_read_take_little_memory(service: Service, keep_figures: Keep) -> None:
    """Given bodies of the full size that grow when they are read, when sent, then 400, and little memory is taken."""
    bodies = {
        "spaces": '"init_img": "' + "AB " * 11_000_000 + '"',
        "padding": '"init_img": "' + "=" * 33_000_000 + '"',
        "objects": '"seed": [' + ",".join(["{}"] * 11_000_000) + "]",
        "fields": ",".join(f'"{number}": 1' for number in range(2_300_000)),
        "escapes": '"negative_prompt": "' + "\\u202e" * 5_000_000 + '"',
        "digits": '"seed": ' + "9" * 33_000_000,
    }
    for name, text in bodies.items():
        data = '{"prompt": "x", ' + text + "}"
        answer = service.post("/img2img", data=data, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400, (name, answer.text[:300])
        assert len(answer.content) < 10_000, name
    most = most_memory_mb(service)
    assert most < MEMORY_LIMIT_MB
    keep_figures(bodies=len(bodies), megabytes_each=33, api_memory_mb_most=most)


def text_fields() -> list[tuple[str, str]]:
    """Every field of every request that takes text."""
    limits = Limits(load_catalogue("demo"), Path("nowhere"), MOST_PIXELS, 10_000, 64, 10**9)
    schemas = {"/generate": GenerateSchema(limits), "/img2img": Img2ImgSchema(limits)}
    return [
        (path, field.data_key or name)
        for path, schema in schemas.items()
        for name, field in schema.fields.items()
        if isinstance(field, fields.String)
    ]


def assert_nothing_forged(service: Service) -> None:
    """No line of any log begins with what a client sent; every line of JSON is whole."""
    for file in (service.folder / "logs").glob("*.log"):
        lines = re.split("[\r\n\x0b\x0c\x85\u2028\u2029]", file.read_bytes().decode(errors="replace"))
        assert not [line for line in lines if re.match(rf'[ {{":]*(event[ ":]*)?{hostile.FORGED}', line)], file.name
        assert not [line for line in lines if "\x1b" in line or "\x9b" in line or "\u202e" in line], file.name
    (file,) = (service.folder / "logs").glob(f"{service.apis[1].child.name}.log")
    assert all(json.loads(line)["event"] for line in file.read_text().splitlines() if line.startswith("{"))


def test_text_of_any_kind_stays_text(service: Service, scale: Scale, keep_figures: Keep) -> None:
    """Given paths, control characters, halves of pairs and forged lines in every field that takes text, and for names
    of fields, when they are posted, then each is drawn as it is or refused by name, and no file or line comes of it."""
    files = outside(service)
    answers: Counter[int] = Counter()
    prompts = {}
    # img2img takes all that generate takes
    places = [place for place in text_fields() if place[0] in scale(("/img2img",), ("/generate", "/img2img"))]
    for path, name in [*places, ("/generate", "prompt"), ("/generate", "")]:
        for number, text in enumerate(hostile.TEXTS[:: scale(2, 1)]):
            body = TINY | {"ddim_steps": 1} | ({"init_img": PNG} if path == "/img2img" else {})
            body |= {name: text} if name else {text or "x": 1}
            answer = service.post(path, body, api=number % 2)
            answers[answer.status_code] += 1
            assert answer.status_code in (202, 400), (path, name, text, answer.text[:300])
            assert answer.headers["Content-Type"] == "application/json"
            assert hostile.FORGED not in str(answer.headers)
            if answer.status_code == 400:
                assert set(answer.json()["fields"]) <= {name or text or "x", "prompt"}
            elif name == "prompt" and path == "/generate":
                prompts[answer.json()["task_id"]] = text
    all_done(service)
    for job_id, prompt in prompts.items():
        answer = service.wait(job_id).json()
        assert answer["Parameters"]["prompt"] == prompt
        with Image.open(BytesIO(base64.b64decode(answer["Image"][0]))) as image:
            assert isinstance(image, PngImageFile)
            assert json.loads(image.text["personal_diffusion"])["prompt"] == prompt
    assert outside(service) == files
    assert all(
        re.fullmatch(r"[A-Za-z0-9_.\- /]+", str(file.relative_to(service.output_dir)))
        for file in service.output_dir.rglob("*")
    )
    assert_nothing_forged(service)
    keep_figures(
        fields=len(places), texts=len(hostile.TEXTS), requests=sum(answers.values()), accepted=answers[202],
        answers_5xx=0, lines_forged=0, files_outside=0,
    )  # fmt: skip


def outside(service: Service) -> set[Path]:
    """Every file beside those that the service is to write."""
    ours = [service.output_dir, *(service.folder / name for name in ("logs", "redis", "cache"))]
    return {file for file in service.folder.rglob("*") if not any(file.is_relative_to(folder) for folder in ours)}


def raw(service: Service, head: bytes, body: bytes = b"", api: int = 0) -> bytes:
    """The answer to these very bytes, which no library has made decent."""
    address = urlsplit(service.apis[api].url)
    with socket.create_connection((address.hostname, address.port), timeout=ANSWERS_WITHIN_S) as client:
        client.sendall(head + b"\r\n\r\n" + body)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    return answer


#: Looks like a key, and must not be written down by anyone.
KEY = b"a-key-of-somebody"
HEADER_VALUES = (
    *(text.encode("utf-8", "surrogatepass") for text in hostile.TEXTS),
    b"\xff\xfe\x80",
    b"a\r\n " + hostile.FORGED.encode(),
    b"a\r\nX-Injected: yes",
    b"a\nX-Injected: yes",
    b"a\rX-Injected: yes",
    b"x" * 255,
    b" ",
    b"\t",
)


def test_headers_of_any_kind_are_answered(service: Service, scale: Scale, keep_figures: Keep) -> None:
    """Given any bytes in the headers of the key and of the retry, when sent, then 202 or 4xx, and nothing injected."""
    body = json.dumps(TINY | {"ddim_steps": 1}).encode()
    answers: Counter[int] = Counter()
    more = (b"Authorization", b"Content-Type", b"Content-Length", b"Origin", b"Host", b"X-Other")
    for name in (b"X-API-Key", b"Idempotency-Key", *scale((), more)):
        for number, value in enumerate(HEADER_VALUES):
            sent = {
                b"Host": b"localhost", b"Content-Type": b"application/json", b"X-API-Key": DUMMY_API_KEY.encode(),
                b"Content-Length": str(len(body)).encode(), b"Connection": b"close",
            } | {name: value}  # fmt: skip
            head = b"POST /generate HTTP/1.1\r\n" + b"\r\n".join(b": ".join(header) for header in sent.items())
            answer = raw(service, head, body, api=number % 2)
            status = int(answer.split()[1])
            answers[status] += 1
            assert status == 202 or 400 <= status < 500, (name, value, answer[:300])
            told = answer.partition(b"\r\n\r\n")[0]
            assert b"X-Injected" not in told
            assert hostile.FORGED.encode() not in told
    all_done(service)
    assert service.get("/health", api=0).status_code == service.get("/health", api=1).status_code == 200
    assert_nothing_forged(service)
    keep_figures(requests=sum(answers.values()), statuses={str(status): n for status, n in sorted(answers.items())})


NOT_HTTP = {
    b"GARBAGE": 400,
    b"GET / HTTP/9.9": 400,
    b"G\xc3\x89T / HTTP/1.1\r\nHost: localhost": 400,
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX Y: " + KEY: 400,
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX-API-Key: " + KEY + b"\x00": 400,
    b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + KEY: 400,
    b"POST /generate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: " + KEY: 400,
    b"POST /generate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 3": 400,
    b"POST /generate HTTP/1.1\r\nHost: localhost\r\nExpect: " + KEY: 417,
    b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost": 414,
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 9000: 431,
    b"GET / HTTP/1.1\r\nHost: localhost" + b"\r\nX: y" * 200: 431,
}


def test_what_is_no_http_is_refused_like_everything_else(service: Service) -> None:
    """Given heads and chunks that break HTTP's rules, when sent, then a 4xx in the one shape, no key in a log."""
    broken = (
        b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked"
    )
    answers = [(head, raw(service, head), status) for head, status in NOT_HTTP.items()]
    answers += [(chunk, raw(service, broken, chunk), 400) for chunk in (b"zz\r\n", b"-1\r\n", b"3\r\nabcdef\r\n")]
    for sent, answer, status in answers:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert int(head.split()[1]) == status, (sent, answer)
        assert set(json.loads(body)) == {"error", "code", "fields"}, (sent, answer)
    assert KEY.decode() not in "\n".join(service.logs(10_000).values())


def paths(job_id: str) -> list[str]:
    climbs = ["../secret.txt", "../../secret.txt", "../../../../../../etc/passwd", "./.", "..", ".", "~", "~root"]
    encoded = [climb.replace("/", slash) for climb in climbs for slash in ("/", "%2f", "%252f", "\\", "%5c", "//")]
    encoded += [climb.replace(".", dot) for climb in climbs for dot in ("%2e", "%252e", "%c0%ae", "\uff0e", "%u002e")]
    encoded += ["file:///etc/passwd", "%00", "x%00.png", "%0d%0aX-Injected:%20yes", "%0aFORGED", "%ff%fe", "%", "%zz",
                "*", "?", "%E2%80%AE", "a" * 4000, ":", "..;/secret.txt", "input.png", "hidden.txt",
                "../hidden.txt"]  # fmt: skip
    starts = ["/", "/images/", f"/images/{job_id}/", "/images/../", "/status/", f"/status/{job_id}/", "/static/", "//",
              "http://elsewhere.example/", "/outputs/", "/openapi.json/", f"/images/.expiring/{job_id}/"]  # fmt: skip
    return [start + rest for start in starts for rest in encoded]


def test_no_path_leads_out(service: Service, keep_figures: Keep) -> None:
    """Given paths that climb, as they are and encoded, when asked for over a bare socket, then no file is shown."""
    job_id = service.submit("/img2img", **TINY | {"init_img": PNG, "ddim_steps": 1})
    assert service.wait(job_id).json()["State"] == "SUCCESS"
    (service.output_dir / "hidden.txt").write_text("a secret file")
    answers: Counter[int] = Counter()
    for number, path in enumerate(paths(job_id)):
        for method in ("GET", "POST"):
            head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0".encode()
            answer = raw(service, head, api=number % 2)
            status = int(answer.split()[1])
            answers[status] += 1
            assert status in (200, 308) or 400 <= status < 500, (path, answer[:300])
            assert b"secret file" not in answer, path
            assert b"root:" not in answer, path
            assert b"\x89PNG" not in answer, path
            assert b"\nX-Injected" not in answer, path
    assert_nothing_forged(service)
    keep_figures(requests=sum(answers.values()), statuses={str(status): n for status, n in sorted(answers.items())})
