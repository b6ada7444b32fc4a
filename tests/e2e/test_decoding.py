"""Images that are hard to decode, sent to the real API: nobody else is held up, and nothing is left behind."""

import base64
import io
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.e2e.service import Service


@pytest.fixture
def service(tmp_path: Path, redis_server: Path) -> Iterator[Service]:
    """An API whose one decoder has 5 seconds an image. Nobody draws: it is enough that jobs are accepted."""
    service = Service(tmp_path / "service", redis_server, INPUT_DECODERS="1", INPUT_DECODE_S="5")
    try:
        service.start_redis()
        service.start_api()
        yield service
    finally:
        service.close()


def descendants(pid: int) -> list[int]:
    """All processes below this one, by id."""
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def decoder_of(service: Service) -> int:
    (pid,) = [
        pid for pid in descendants(service.apis[0].child.pid)
        if "api.decoding.process" in Path(f"/proc/{pid}/cmdline").read_text()
    ]  # fmt: skip
    return pid


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def encoded() -> str:
    out = io.BytesIO()
    Image.effect_noise((64, 64), 60).convert("RGB").save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def test_an_image_that_takes_for_ever_holds_nobody_up(service: Service) -> None:
    """Given an image that its decoder does not get done with, when others ask meanwhile, then they are answered first;
    it is refused by the name of its field, the next is decoded anew, and with the API its decoder is gone."""
    body = {"prompt": "a red circle", "init_img": encoded()}
    assert service.post("/img2img", body).status_code == 202
    stuck = decoder_of(service)
    environment = Path(f"/proc/{stuck}/environ").read_bytes()
    assert service.key_prefix.encode() not in environment
    assert b"REDIS" not in environment
    os.kill(stuck, signal.SIGSTOP)
    answers = []

    def send() -> None:
        answers.append(service.post("/img2img", body))

    waiting = threading.Thread(target=send)
    waiting.start()
    # one of these may come before it; the last ones come after, while it waits
    others = [service.get("/health").status_code for _ in range(20)]
    others += [service.post("/generate", {"prompt": "a red circle"}).status_code for _ in range(5)]
    assert not answers, "the image was answered while its decoder stood still"
    assert others == [200] * 20 + [202] * 5
    waiting.join()

    assert answers[0].status_code == 400
    assert "Takes longer than 5 s" in answers[0].json()["fields"]["init_img"][0]
    assert service.post("/img2img", body).status_code == 202
    successor = decoder_of(service)
    assert successor != stuck
    service.kill(service.apis[0].child)
    until(lambda: not Path(f"/proc/{successor}").exists(), "a decoder is left behind")
