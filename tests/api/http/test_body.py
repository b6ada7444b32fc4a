"""Bodies: how they are read, what their bytes may take together, and what is said of those that cannot be read."""

import io
import json

import pytest

from api.http.body import Bodies
from shared.errors import BodiesFull
from shared.settings import DUMMY_API_KEY

KIB = 1024
JSON = {"Content-Type": "application/json"}


class Wire(io.BytesIO):
    """A body that notes whether anybody read it."""

    reads = 0

    def read(self, size=-1):
        self.reads += 1
        return super().read(size)

    def readinto(self, buffer):
        self.reads += 1
        return super().readinto(buffer)


def post(client, wire, **headers):
    return client.post("/generate", input_stream=wire, content_length=len(wire.getvalue()), headers=JSON | headers)


@pytest.mark.parametrize("headers", [{"X-API-Key": "wrong"}, {"Authorization": "Bearer wrong"}])
def test_a_wrong_key_in_a_header_is_refused_unread(client, assert_error, headers):
    """Given a wrong key in a header and the right one in the body, when posted, then 401, and no byte was read."""
    wire = Wire(json.dumps({"prompt": "a cat", "api_key": DUMMY_API_KEY}).encode())

    assert_error(post(client, wire, **headers), 401, "unauthorized")
    assert wire.reads == 0


def test_a_right_key_in_either_header_is_enough(client):
    """Given a right key in one header and another program's token in the other, when posted, then 202."""
    data = json.dumps({"prompt": "a cat"}).encode()

    assert post(client, Wire(data), **{"X-API-Key": DUMMY_API_KEY, "Authorization": "Bearer x"}).status_code == 202
    assert post(client, Wire(data), **{"X-API-Key": "x", "Authorization": f"Bearer {DUMMY_API_KEY}"}).status_code == 202


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, identity", "GZIP"])
def test_a_compressed_body_is_415_and_says_so(client, assert_error, encoding):
    """Given a Content-Encoding, when posted, then 415 names the header; identity is none."""
    error = assert_error(post(client, Wire(b"{}"), **{"Content-Encoding": encoding}), 415, "encoded_body")

    assert "Content-Encoding" in error.error
    good = Wire(json.dumps({"prompt": "a cat", "api_key": DUMMY_API_KEY}).encode())
    assert post(client, good, **{"Content-Encoding": "identity"}).status_code == 202


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"prompt": "a cat"\n "seed": 1}', "delimiter (line 2, column 2)"),
        (b'{"prompt": "a cat",}', "(line 1, column 20)"),
        (b"{'prompt': 1}", "(line 1, column 2)"),
        (b"", "(line 1, column 1)"),
        (b'{"prompt": "\xff"}', "byte 12 is not UTF-8"),
        (b"[" * 90_000, "nested too deeply"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "too many digits"),
    ],
)
def test_what_is_no_json_says_where_and_why(client, assert_error, data, reason):
    """Given a body that is not JSON, when posted, then 400 names the place and the reason."""
    assert reason in assert_error(post(client, Wire(data)), 400, "malformed_json").error


def test_a_byte_order_mark_is_no_fault(client):
    """Given JSON as some editors save it, when posted, then 202."""
    data = b"\xef\xbb\xbf" + json.dumps({"prompt": "a cat", "api_key": DUMMY_API_KEY}).encode()

    assert post(client, Wire(data)).status_code == 202


def test_what_gets_past_caches_is_no_parameter(world, assert_error):
    """Given `?_=...`, as libraries of browsers add it, then it is ignored; what else is unknown is named."""
    job_id = world.submit()

    assert world.client.get(f"/status/{job_id}?_=1764064800").status_code == 200
    assert set(assert_error(world.client.get(f"/status/{job_id}?__=1"), 400).fields) == {"__"}


def test_bodies_together_are_bounded_and_given_back():
    """Given a budget, when bodies are held, then the one too many is refused, and room returns with their end."""
    bodies = Bodies(100 * KIB)
    with bodies.held(known=True):
        bodies.take(90 * KIB, known=True, alone=0)
        with pytest.raises(BodiesFull):
            bodies.take(20 * KIB, known=True, alone=0)
    bodies = Bodies(100 * KIB)
    bodies.take(500 * KIB, known=True, alone=0)
    bodies.take(500 * KIB, known=True, alone=500 * KIB)  # the same one goes on: alone it always finds room


def test_bodies_of_nobody_take_half():
    """Given bodies without a right key in a header, when they fill their half, then one with a key finds room."""
    bodies = Bodies(100 * KIB)
    bodies.take(40 * KIB, known=False, alone=0)

    with pytest.raises(BodiesFull, match="X-API-Key"):
        bodies.take(20 * KIB, known=False, alone=0)
    bodies.take(40 * KIB, known=True, alone=0)


def test_nothing_is_held_once_requests_are_answered(world):
    """Given requests that were accepted and refused, when they are answered, then no byte counts as held."""
    client = world.another_client()
    for fields in ({}, {"ddim_steps": 0}, {"api_key": "wrong"}, {"padding": "x" * 90_000}):
        world.post(client=client, **fields)
    door = client.application.extensions["services"].door

    assert (door._bodies.held_bytes, door._bodies.unknown_bytes) == (0, 0)


def test_large_bodies_are_refused_while_others_are_in_hand(world, assert_error):
    """Given a body in hand that fills the budget, when a large one comes, then 503 and Retry-After; a small one is
    taken."""
    client = world.another_client(body_memory=1000)
    door = client.application.extensions["services"].door
    with door._bodies.held(known=True) as other:
        door._bodies.take(900, known=True, alone=0)
        other.size = 900
        answer = world.post(client=client, padding="x" * 90_000)
        assert_error(answer, 503, "bodies_full")
        assert answer.headers["Retry-After"]
        assert world.post(client=client).status_code == 202
    assert_error(world.post(client=client, padding="x" * 90_000), 400, "invalid_request")


def test_a_part_that_says_too_much_of_itself_is_refused(client):
    """Given a form whose part has thousands of lines in its head, when posted, then 400 that says so, and the lines are
    not read one by one; lines of that length in the part itself are no fault."""
    content = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n' + b"x" * 20_000 + b"\r\n--b--\r\n"
    for data, reason in ((content.replace(b"\r\n\r\n", b"\r\nA: b" * 5_000 + b"\r\n\r\n"), "head"), (content, "image")):
        answer = client.post(
            "/v1/images/edits",
            data=data,
            content_type="multipart/form-data; boundary=b",
            headers={"X-API-Key": DUMMY_API_KEY},
        )
        assert answer.status_code == 400
        assert reason in answer.json["error"]["message"]
