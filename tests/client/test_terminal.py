"""What a terminal is sent: images in three protocols, and the lines below them."""

import base64
import io
import os
import pty
import re
import sys
import termios
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from client.progress import Previews, remaining, words
from client.tables import print_table
from client.terminal_images import ROWS, Graphics, graphics_of, iterm, kitty, sixel
from client.wire import Event


def two_colours() -> bytes:
    """An image that is red on top and blue below, too detailed at its edge to be small."""
    image = Image.effect_noise((64, 64), 90).convert("RGB")
    image.paste("red", (0, 0, 64, 24))
    image.paste("blue", (0, 40, 64, 64))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("environment", "graphics"),
    [
        ({"TERM": "xterm-kitty"}, kitty),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, kitty),
        ({"TERM": "xterm", "TERM_PROGRAM": "iTerm.app"}, iterm),
        ({"TERM": "xterm", "TERM_PROGRAM": "WezTerm"}, iterm),
        ({"TERM": "foot-extra"}, sixel),
        ({"TERM": "xterm-sixel"}, sixel),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, None),
        ({"TERM": "xterm"}, None),
        ({}, None),
    ],
)
def test_the_terminal_is_known_by_its_variables(environment: Mapping[str, str], graphics: Graphics | None) -> None:
    """Given the variables that a terminal sets, then how it shows images, or that it does not, is known."""
    assert graphics_of(environment) is graphics


def test_kitty_gets_a_png_in_chunks() -> None:
    """Given an image, then its chunks are within kitty's bound, all but the last say that more come, and are a PNG."""
    commands = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", kitty(two_colours()))
    assert len(commands) > 1
    assert all(len(chunk) <= 4096 for _, chunk in commands)
    assert [keys[-3:] for keys, _ in commands] == ["m=1"] * (len(commands) - 1) + ["m=0"]
    assert f"r={ROWS}" in commands[0][0]
    data = base64.b64decode("".join(chunk for _, chunk in commands))
    assert Image.open(io.BytesIO(data)).getpixel((0, 0)) == (255, 0, 0)


def test_iterm_gets_the_file_itself() -> None:
    """Given an image, then the file is sent as it is."""
    image = two_colours()
    found = re.fullmatch(r"\x1b\]1337;File=([^:]*):(.*)\a", iterm(image))
    assert found
    assert f"height={ROWS}" in found[1]
    assert base64.b64decode(found[2]) == image


def test_sixel_has_the_colours_in_their_place() -> None:
    """Given an image, when its sixels are read back, then it is red on top and blue below, at every pixel."""
    text = sixel(two_colours())
    assert (text[:3], text[-2:]) == ("\x1bPq", "\x1b\\")
    palette = {int(n): (int(r), int(g), int(b)) for n, r, g, b in re.findall(r"#(\d+);2;(\d+);(\d+);(\d+)", text)}
    body = re.sub(r"#\d+;2;\d+;\d+;\d+", "", text[3:-2])
    rows: dict[tuple[int, int], tuple[int, int, int]] = {}
    for band, lines in enumerate(body.split("-")):
        for line in lines.split("$"):
            colour, bits = re.fullmatch(r"#(\d+)([?-~]*)", line).groups()  # type: ignore[union-attr]  # fails the test
            for x, letter in enumerate(bits):
                for bit in range(6):
                    if (ord(letter) - 63) >> bit & 1:
                        rows[x, band * 6 + bit] = palette[int(colour)]
    width, height = max(x for x, _ in rows) + 1, max(y for _, y in rows) + 1
    assert len(rows) == width * height
    assert width == height
    assert (rows[5, 5], rows[width - 5, height - 5]) == ((100, 0, 0), (0, 0, 100))


@pytest.mark.parametrize("graphics", [kitty, iterm, sixel])
def test_what_is_no_image_is_left_out(graphics: Graphics) -> None:
    """Given bytes that are no image, then a terminal is sent nothing."""
    assert graphics(b"nothing") == ""


def test_an_event_is_a_few_words() -> None:
    """Given events, then place, step, download and time left are told in words that fit into a narrow terminal."""
    waiting, working = Event("queued", position=3, eta_s=400), Event("progress", step=7, steps=20, eta_s=4.4)
    loading = Event("progress", steps=20, sentence="Working: downloading 43 %.")
    assert [words(event) for event in (waiting, working, loading)] == [
        "place 3 in the queue", "step 7 of 20", "downloading 43 %",
    ]  # fmt: skip
    assert [remaining(event) for event in (waiting, working, loading)] == ["7 min", "4 s", ""]


def test_a_table_is_cut_to_a_terminal_and_whole_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a table wider than 40 columns, then its lines are cut on such a terminal, and whole in a pipe."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "40")
    shown, piped = Terminal(), io.StringIO()
    for stream in (shown, piped):
        monkeypatch.setattr(sys, "stdout", stream)
        print_table(("NAME", "WHAT"), [("demo", "draws shapes " * 5), ("x", "a\nb")])
    assert max(map(len, shown.getvalue().splitlines())) == 40
    assert piped.getvalue().splitlines() == ["NAME  WHAT", "demo  " + ("draws shapes " * 5).strip(), "x     a b"]


def test_previews_stand_over_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a terminal of 20 columns, when previews and steps come, then each image is drawn in one place over a line
    that fits, which is gone at the end."""
    terminal, inside = pty.openpty()
    termios.tcsetwinsize(inside, (24, 20))
    with Path(f"/dev/fd/{inside}").open("w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        with Previews(lambda data: f"<{data.decode()}>") as show:
            show(Event("progress", step=1, steps=1000000, eta_s=5))
            show(Event("preview", preview=b"one"))
            show(Event("preview", preview=b"two"))
            show(Event("done"))
    os.close(inside)
    seen = ""
    with suppress(OSError):  # all has been read
        while piece := os.read(terminal, 4096):
            seen += piece.decode()
    os.close(terminal)
    assert seen.count("\n") == ROWS
    assert [f"\x1b7\r\x1b[{ROWS}A<{name}>\x1b8" in seen for name in ("one", "two")] == [True, True]
    assert "step 1 of 1000000  \x1b" in seen.replace("\r", "")
    assert seen.endswith("\r\x1b[K")
