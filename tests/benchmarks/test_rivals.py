"""What `benchmarks.rivals` asks for, how its clients judge answers, and what it makes of times."""

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from benchmarks.rivals.clients import Measured, WrongAnswer, send_all
from benchmarks.rivals.loads import Load
from benchmarks.rivals.rounds import Rounds, told


class Painter(BaseHTTPRequestHandler):
    """Answers with a white PNG of the size that was asked for; wider for the prompt "wider", 500 for "fail"."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        buffer = io.BytesIO()
        Image.new("RGB", (body["W"] + 8 * (body["prompt"] == "wider"), body["H"])).save(buffer, "PNG")
        content = json.dumps({"Image": [base64.b64encode(buffer.getvalue()).decode()]}).encode()
        self.send_response(500 if body["prompt"] == "fail" else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Painter) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_latency_is_told_of_every_request(port: int) -> None:
    """Given more requests than users, when sent, then each has its time, and all have theirs."""
    done = send_all(port, 2, Load(2, 5).bodies(0))
    assert len(done.latencies) == 5
    assert all(0 < latency <= done.seconds for latency in done.latencies)


@pytest.mark.parametrize(("prompt", "why"), [("wider", "not a PNG of 128x128"), ("fail", "HTTP 500")])
def test_a_wrong_answer_is_no_result(port: int, prompt: str, why: str) -> None:
    """Given one answer that is an error or another image, when measured, then that is told, and no time."""
    bodies = Load(2, 2).bodies(0)
    bodies[1]["prompt"] = prompt
    with pytest.raises(WrongAnswer, match=why):
        send_all(port, 2, bodies)


def test_a_server_that_is_away_is_no_result(port: int) -> None:
    """Given nobody who listens, when measured, then that is told, and no user waits for the others."""
    with pytest.raises(WrongAnswer, match="ConnectionRefusedError"):
        send_all(1, 2, Load(2, 2).bodies(0))


def test_every_side_gets_the_same_mix_in_every_round() -> None:
    """Given a mixed load, when its rounds are asked for, then sizes, steps and scales are one mix, and seeds differ."""
    load = Load(16, 16, mixed=True)
    assert load.bodies(3) == load.bodies(3)
    mixes = [[(body["W"], body["ddim_steps"], body["scale"]) for body in load.bodies(number)] for number in (0, 1)]
    assert mixes[0] == mixes[1]
    assert len(set(mixes[0])) > 8
    assert [body["seed"] for body in load.bodies(0)] != [body["seed"] for body in load.bodies(1)]


def test_ratios_are_between_the_turns_of_one_round() -> None:
    """Given a machine that was slower in one round, when told, then the ratio is the median of those of the rounds."""
    ours = Rounds([Measured(1.0, [1.0, 0.5]), Measured(10.0, [10.0, 5.0]), Measured(1.0, [1.0, 0.5])])
    theirs = Rounds([Measured(2.0, [2.0, 2.0]), Measured(20.0, [20.0, 20.0]), Measured(4.0, [4.0, 4.0])])
    for rounds in (ours, theirs):
        rounds.others = [0.0]
    figures = told(Load(2, 2), {"ours": ours, "rival": theirs})["ours_against"]["rival"]
    assert figures["throughput"] == {"median": 2.0, "least": 2.0, "most": 4.0}
    assert figures["p95"] == 0.5
