"""What the scripts of A1111's clients share: the service they talk to, and what they check of its images."""

import base64
import json
import os
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

URL, FULL_URL, KEY = os.environ["SERVICE_URL"], os.environ["FULL_SERVICE_URL"], os.environ["SERVICE_KEY"]
USER = "anyone"
PROMPT = "a red circle on a blue background"
_BASIC = "Basic " + base64.b64encode(f"{USER}:{KEY}".encode()).decode()


def png_size(data: bytes) -> tuple[int, int]:
    """(width, height) of a PNG, from its first chunk."""
    assert data[:4] == b"\x89PNG"
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def ask(path: str, method: str = "GET") -> Any:
    """The JSON that an address of the service answers with."""
    data = b"" if method == "POST" else None
    request = urllib.request.Request(URL + path, data, {"Authorization": _BASIC}, method=method)  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return json.load(answer)


def interrupt_when_begun() -> threading.Thread:
    """Interrupt, as another window of the same user would, once something of the key is under way."""

    def act() -> None:
        end = time.monotonic() + 60
        while ask("/sdapi/v1/progress")["progress"] == 0 and time.monotonic() < end:
            time.sleep(0.05)
        ask("/sdapi/v1/interrupt", "POST")

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def failure(act: Callable[[], object], kind: type[Exception], *words: str) -> str:
    """The sentence with which `act` fails, which has all of these words."""
    text = None
    try:
        act()
    except kind as error:
        text = str(error)
    assert text is not None, f"no {kind.__name__}"
    assert not [word for word in words if word not in text], text
    return text
