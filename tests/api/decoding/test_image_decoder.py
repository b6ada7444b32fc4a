"""The processes that decode clients' images: what they give, what becomes of them, and who is not held up."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from api.decoding.image_decoder import ImageDecoder
from api.decoding.thumbnail import make_thumbnail
from shared.errors import ServiceUnavailable
from shared.request.image_text import read_image_text
from shared.request.input_image import decode_image, decode_mask
from shared.request.preprocessors import PREPROCESSORS, preprocess_image
from shared.request.resizing import Resizing, resize_image

pytestmark = pytest.mark.programs

PLENTY = 1024**3
PIXELS = 16_000_000


def encoded(size: tuple[int, int] = (96, 64), form: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(out, form)
    return out.getvalue()


GOOD = encoded()


def children() -> set[int]:
    """The processes of this one that decode."""
    found = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    return {int(line.split()[0]) for line in found.stdout.splitlines() if "api.decoding.process" in line}


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@pytest.fixture
def decoder() -> Iterator[Callable[..., ImageDecoder]]:
    """Make a decoder; its processes are gone when the test has ended."""
    made: list[ImageDecoder] = []

    def make(processes: int = 1, timeout_s: float = 60, max_bytes: int = PLENTY) -> ImageDecoder:
        made.append(ImageDecoder(processes, timeout_s, max_bytes))
        return made[-1]

    yield make
    for each in made:
        each.close()
    assert children() == set()


def the_process() -> int:
    (pid,) = children()
    return pid


def test_it_gives_what_decoding_here_gives(decoder: Callable[..., ImageDecoder]) -> None:
    """Given images and no images, when decoded elsewhere, then the outcome is that of this process, by one process."""
    elsewhere = decoder()
    for data in (GOOD, encoded((300, 200), "JPEG"), encoded((64, 64), "WEBP")):
        assert elsewhere(data, PIXELS) == decode_image(data, PIXELS)
    for data in (b"", b"no image", GOOD[:500], encoded((4, 4))):
        with pytest.raises(ValueError, match=r".\.$") as there:
            elsewhere(data, PIXELS)
        with pytest.raises(ValueError, match=r".\.$") as here:
            decode_image(data, PIXELS)
        assert str(there.value) == str(here.value)
    assert len(children()) == 1


def test_it_resizes_and_reads_as_it_would_be_done_here(decoder: Callable[..., ImageDecoder]) -> None:
    """Given orders to resize, to read texts and masks, when done elsewhere, then the outcome is as if done here."""
    elsewhere = decoder()
    how = Resizing(width=50, height=50, fit="crop", filter="nearest")
    assert elsewhere.resize(GOOD, PIXELS, how) == resize_image(GOOD, PIXELS, how)
    for name in PREPROCESSORS:
        assert elsewhere.preprocess(GOOD, PIXELS, name, 64) == preprocess_image(GOOD, PIXELS, name, 64)
    assert elsewhere.read_text(GOOD, PIXELS) == read_image_text(GOOD, PIXELS)
    assert elsewhere.mask(GOOD, PIXELS) == decode_mask(GOOD, PIXELS)
    with pytest.raises(ValueError, match=r"pixels.*\.$"):
        elsewhere.resize(GOOD, PIXELS, Resizing(factor=1000))
    assert len(children()) == 1


def test_it_makes_thumbnails_too(decoder: Callable[..., ImageDecoder]) -> None:
    """Given images and no image, when a thumbnail is wanted, then it is what is made here, small, by the process."""
    elsewhere = decoder()
    for form in ("PNG", "JPEG", "WEBP"):
        data = encoded((600, 300), form)
        small = elsewhere.thumbnail(data, 192)
        assert small == make_thumbnail(data, 192)
        with Image.open(io.BytesIO(small)) as image:
            assert (image.format, image.size) == ("WEBP", (192, 96))
    with Image.open(io.BytesIO(elsewhere.thumbnail(encoded((64, 64)), 192))) as image:
        assert image.size == (64, 64), "nothing is enlarged"
    with pytest.raises(ValueError, match="cannot be read"):
        elsewhere.thumbnail(b"no image", 192)
    assert len(children()) == 1


def test_nothing_is_started_before_it_is_needed(decoder: Callable[..., ImageDecoder]) -> None:
    """Given a decoder, when it has decoded nothing, then no process runs."""
    decoder(processes=3)
    assert children() == set()


def test_a_process_that_hangs_is_replaced(decoder: Callable[..., ImageDecoder]) -> None:
    """Given a process that is stopped amid its work, when its time is up, then that image is refused, and the next is
    decoded by another process."""
    elsewhere = decoder(timeout_s=3)
    elsewhere(GOOD, PIXELS)
    hanging = the_process()
    os.kill(hanging, signal.SIGSTOP)

    with pytest.raises(ValueError, match="Takes longer than 3 s"):
        elsewhere(GOOD, PIXELS)

    assert elsewhere(GOOD, PIXELS) == decode_image(GOOD, PIXELS)
    assert the_process() != hanging


def test_an_image_that_kills_its_process_is_refused(decoder: Callable[..., ImageDecoder]) -> None:
    """Given a process that dies amid its work, when an image is decoded, then it alone is refused."""
    elsewhere = decoder()
    elsewhere(GOOD, PIXELS)
    dying = the_process()
    os.kill(dying, signal.SIGSTOP)
    refusals: list[str] = []

    def decode() -> None:
        try:
            elsewhere(GOOD, PIXELS)
        except ValueError as refused:
            refusals.append(str(refused))

    thread = threading.Thread(target=decode)
    thread.start()
    time.sleep(0.2)  # in its hands by now; if not, it is found dead, and that is the next test
    os.kill(dying, signal.SIGKILL)
    thread.join()

    assert [refusal for refusal in refusals if "died of it" not in refusal] == []
    assert elsewhere(GOOD, PIXELS) == decode_image(GOOD, PIXELS)


def test_a_process_that_died_in_between_costs_nobody_anything(decoder: Callable[..., ImageDecoder]) -> None:
    """Given a process that was killed while it waited, when an image is decoded, then another process does it."""
    elsewhere = decoder()
    elsewhere(GOOD, PIXELS)
    dead = the_process()
    os.kill(dead, signal.SIGKILL)
    until(lambda: Path(f"/proc/{dead}/stat").read_text().split(")")[1].split()[0] == "Z", "it does not die")

    assert elsewhere(GOOD, PIXELS) == decode_image(GOOD, PIXELS)


def test_memory_is_bounded(decoder: Callable[..., ImageDecoder]) -> None:
    """Given less memory than an image takes, when decoded, then it is refused with a reason, and a small one not."""
    elsewhere = decoder(max_bytes=256 * 1024**2)
    large = io.BytesIO()
    Image.new("RGB", (8000, 8000)).save(large, "PNG")

    with pytest.raises(ValueError, match=r"memory to read|died of it"):
        elsewhere(large.getvalue(), 64_000_000)

    assert elsewhere(GOOD, PIXELS) == decode_image(GOOD, PIXELS)


def test_when_all_are_busy_the_server_says_so(decoder: Callable[..., ImageDecoder]) -> None:
    """Given no process that is free, when an image comes, then it is refused for the moment, not called bad."""
    with pytest.raises(ServiceUnavailable, match="Too many"):
        decoder(processes=0, timeout_s=0.1)(GOOD, PIXELS)


def test_it_ends_with_the_process_that_started_it() -> None:
    """Given a server that is killed, and can end nobody, when it is gone, then its decoder ends too."""
    script = (
        "import os, signal, sys, time; from api.decoding.image_decoder import ImageDecoder\n"
        f"elsewhere = ImageDecoder(1, 60, {PLENTY}); elsewhere(bytes.fromhex({GOOD.hex()!r}), 10**6)\n"
        "print(elsewhere._places.queue[0]._process.pid, flush=True); time.sleep(600)"
    )
    server = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert server.stdout
    pid = int(server.stdout.readline())
    server.kill()
    server.wait()
    server.stdout.close()
    until(lambda: not Path(f"/proc/{pid}").exists(), "the decoder is left behind")
