"""Wrong keys: counted by address, logged, and after many refused unseen."""

import pytest

from api.http.auth import WrongKeys
from shared.errors import TooManyWrongKeys


@pytest.fixture
def wrong(clock):
    return WrongKeys(3, clock)


def guess(wrong, address="10.0.0.1", times=3):
    for _ in range(times):
        wrong.judge(address, None)


def test_many_wrong_keys_shut_an_address_out_for_a_minute(wrong, clock):
    """Given as many wrong keys as may be, when more come, a right one among them, then 429 until the minute is over."""
    guess(wrong)

    for owner in (None, "alice"):
        with pytest.raises(TooManyWrongKeys) as refused:
            wrong.judge("10.0.0.1", owner)
        assert 0 < refused.value.retry_after_s <= 60
    wrong.judge("10.0.0.2", "alice")
    clock.now += 60
    wrong.judge("10.0.0.1", "alice")


def test_who_was_right_before_stays_in(wrong):
    """Given a key that was right at an address, when somebody guesses there, then it goes on being right."""
    wrong.judge("10.0.0.1", "alice")
    guess(wrong)

    wrong.judge("10.0.0.1", "alice")
    with pytest.raises(TooManyWrongKeys):
        wrong.judge("10.0.0.1", "bob")


def test_addresses_of_one_network_of_ipv6_count_together(wrong):
    """Given wrong keys from ever new addresses of a /64, when more come, then 429, and not for its neighbours."""
    for number in range(3):
        wrong.judge(f"2001:db8::{number}", None)

    with pytest.raises(TooManyWrongKeys):
        wrong.judge("2001:db8::ffff", None)
    wrong.judge("2001:db8:0:1::1", "alice")


def test_what_is_remembered_is_bounded(wrong, monkeypatch):
    """Given wrong keys from more addresses than are remembered, then the oldest are forgotten."""
    monkeypatch.setattr("api.http.auth._MOST_ADDRESSES", 5)
    for number in range(50):
        wrong.judge(f"10.0.0.{number}", None)

    assert list(wrong._records) == [f"10.0.0.{number}" for number in range(45, 50)]


def test_zero_is_no_limit(clock):
    """Given 0, when wrong keys come without end, then none is refused for its number."""
    guess(WrongKeys(0, clock), times=1000)


def test_wrong_keys_are_logged_without_the_key_and_refused_after_many(world, assert_error, caplog):
    """Given a limit, when wrong keys come over HTTP, then each up to it is a line with the address and no key, and
    the next is 429 with Retry-After; the right one of another address gets in."""
    client = world.another_client(wrong_keys_per_minute=2)
    for number in range(2):
        assert_error(client.get("/recent", headers={"X-API-Key": f"secret-{number}"}), 401, "unauthorized")
    for headers in ({"X-API-Key": "secret-2"}, {"Authorization": "Bearer secret-3"}):
        answer = client.get("/recent", headers=headers)
        assert_error(answer, 429, "too_many_wrong_keys")
        assert int(answer.headers["Retry-After"]) > 0
    assert caplog.text.count("a wrong key from 127.0.0.1") == 2
    assert "secret" not in caplog.text
    other = {"environ_base": {"REMOTE_ADDR": "10.0.0.9"}}
    assert world.post(client=client).status_code == 429
    assert client.get("/recent", headers={"X-API-Key": "lksalsdfjliadfds"}, **other).status_code == 200


def test_behind_a_proxy_its_word_tells_the_address(world):
    """Given PROXY_COUNT, when requests come through it, then the address it names counts; without, it does not."""
    for count, statuses in ((1, [401, 401]), (0, [401, 429])):
        client = world.another_client(wrong_keys_per_minute=1, proxy_count=count)
        asked = [
            client.get("/recent", headers={"X-API-Key": "wrong", "X-Forwarded-For": address})
            for address in ("10.0.0.1", "10.0.0.2")
        ]
        assert [answer.status_code for answer in asked] == statuses
