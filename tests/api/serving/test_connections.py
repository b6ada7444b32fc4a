"""Which connection gives way, and how many one address may have."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from gevent import socket
from gevent.event import Event

from api.serving.connections import Connection, Connections, _group
from shared.errors import BodyTooSlow, TooManyConnections


@dataclass(eq=False)
class Fake:
    address: str = "10.0.0.1"
    waits_since: float | None = None
    gave_way: bool = field(default=False)

    def give_way(self):
        self.gave_way = True


def fake(*about) -> Any:
    """One that `Connections` takes for a connection."""
    return Fake(*about)


def crowd(connections, count, address="10.0.0.1", waits=True):
    made = [fake(address, float(number) if waits else None) for number in range(count)]
    for each in made:
        connections.enter(each)
    return made


def test_while_there_is_room_nobody_gives_way():
    """Given places, when connections come, then all stay."""
    connections = Connections(100, 0)

    assert not any(each.gave_way for each in crowd(connections, 95))


def test_the_longest_idle_of_the_largest_crowd_gives_way():
    """Given all places taken, when others come, then those of the address with most idle ones go, the oldest first."""
    connections = Connections(20, 0)
    few, many = crowd(connections, 4, "10.0.0.2"), crowd(connections, 15)
    newcomers = crowd(connections, 2, "10.0.0.3")

    assert [each.gave_way for each in many] == [True, True] + [False] * 13
    assert not any(each.gave_way for each in few + newcomers)


def test_what_is_at_work_never_gives_way():
    """Given all places taken by requests at work, when another comes, then none is interrupted."""
    connections = Connections(20, 0)

    assert not any(each.gave_way for each in crowd(connections, 20, waits=False) + crowd(connections, 1, "10.0.0.2"))


def test_an_address_has_at_most_its_share():
    """Given a bound for one address, when one more comes of it, then it is refused, and taken once another has left;
    this machine, where one's own proxy may stand, has none."""
    connections = Connections(100, 2)
    first, _ = crowd(connections, 2)

    third = fake()
    assert not connections.enter(third)
    connections.leave(third)
    assert connections.enter(fake("10.0.0.2"))
    connections.leave(first)
    assert connections.enter(fake())
    assert all(connections.enter(fake(_group(("127.0.0.1", 1)))) for _ in range(10))


def test_addresses_of_one_household_count_together():
    """Given addresses, then those of one IPv6 network are one, and IPv4 in IPv6 clothes is what it is."""
    assert _group(("2001:db8::1", 1, 0, 0)) == _group(("2001:db8::2", 1, 0, 0)) != _group(("2001:db8:1::1", 1, 0, 0))
    assert _group(("::ffff:10.0.0.1", 1, 0, 0)) == _group(("10.0.0.1", 1)) != _group(("10.0.0.2", 1))
    assert _group(("::1", 1, 0, 0)) == _group(("127.0.0.1", 1)) == _group("") == _group(("::ffff:127.0.0.1", 1, 0, 0))


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    connection = Connection(ours, "", 0.2)
    yield connection, theirs
    connection.close()
    theirs.close()


def test_a_client_that_takes_no_answer_is_dropped(pair):
    """Given an answer larger than what the wire holds, when nobody reads it, then it ends as if the client had gone."""
    connection, _ = pair

    with pytest.raises(BrokenPipeError):
        connection.sendall(bytes(50_000_000))


def test_an_answer_arrives_whole(pair):
    """Given an answer of many pieces, when it is read, then nothing is missing."""
    connection, client = pair
    data = bytes(range(256)) * 200
    connection.sendall(data)

    read = b""
    while len(read) < len(data):
        read += client.recv(65536)
    assert read == data


def test_a_body_that_pauses_is_too_slow(pair):
    """Given half a body, when nothing more comes, then BodyTooSlow."""
    connection, client = pair
    connection.begin_body(10, expects_continue=False)
    client.sendall(b"x")

    assert connection.recv(100) == b"x"
    with pytest.raises(BodyTooSlow):
        connection.recv(100)


def test_who_gives_way_amid_a_body_can_be_told(pair):
    """Given a connection that is to give way, then its body ends with an error that can be answered, its head in
    silence."""
    connection, client = pair
    connection.begin_body(10, expects_continue=False)
    connection.give_way()

    with pytest.raises(TooManyConnections):
        connection.recv(100)
    connection.sendall(b"why")
    assert client.recv(100) == b"why"
    connection.end_body()
    assert connection.recv(100) == b""


def test_a_client_that_hangs_up_is_noticed_while_it_waits(pair):
    """Given a request at work, when its client hangs up, then that is told once."""
    connection, client = pair
    gone = Event()
    with connection.when_gone(gone.set):
        client.close()
        assert gone.wait(10)
    assert connection.recv(100) == b""


def test_a_client_that_is_there_is_not_taken_for_gone(pair):
    """Given requests at work, when their client says nothing, or sends its next request, then nothing is told, and
    nothing of what it sent is lost."""
    connection, client = pair
    gone = Event()
    with connection.when_gone(gone.set):
        assert not gone.wait(0.05)
        client.sendall(b"GET")
        assert not gone.wait(0.05)
    assert connection.recv(100) == b"GET"
    client.close()
    assert not gone.wait(0.05)
