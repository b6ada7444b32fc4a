"""The key: its places, and nothing else opens; but with OPEN_ACCESS everything does."""

import base64

import pytest

from shared.settings import DUMMY_API_KEY

PLACES = {
    "body": lambda key: ({"api_key": key}, {}),
    "X-API-Key": lambda key: ({}, {"X-API-Key": key}),
    "bearer": lambda key: ({}, {"Authorization": f"Bearer {key}"}),
    "api-key": lambda key: ({}, {"api-key": key}),
    "basic": lambda key: ({}, basic(f"anybody:{key}")),
}


def basic(text):
    return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


def post(client, body, headers):
    return client.post("/generate", json={"prompt": "a cat"} | body, headers=headers)


@pytest.mark.parametrize("place", PLACES)
def test_a_right_key_opens_in_each_place(world, place):
    """Given the documented dummy and no keys set, when it comes in any place, then 202."""
    assert post(world.client, *PLACES[place](DUMMY_API_KEY)).status_code == 202


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("key", ["wrong", "LKSALSDFJLIADFDS", "lksalsdfjliadfd", "lksalsdfjliadfds2", "schlüssel"])
def test_a_wrong_key_is_401_in_each_place(world, assert_error, place, key):
    """Given a wrong key in any place, when posted, then 401 and nothing is queued."""
    assert_error(post(world.client, *PLACES[place](key)), 401, "unauthorized")
    assert world.queue.messages == []


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"Authorization": "Bearer"}, {"Authorization": "Basic abc"}, {"X-API-Key": ""}, {"Authorization": ""},
        {"api-key": ""}, {"Authorization": "Basic"}, {"Authorization": "Basic "}, {"Authorization": "Basic undefined"},
        {"Authorization": "Basic /w=="}, basic(""), basic(":"), basic("user:"), basic(DUMMY_API_KEY),
    ],
)  # fmt: skip
@pytest.mark.parametrize("body", [{}, {"api_key": ""}, {"api_key": None}])
def test_a_missing_key_is_401_and_says_where_to_put_it(world, assert_error, headers, body):
    """Given no key anywhere, when posted, then 401 names the three places."""
    error = assert_error(post(world.client, body, headers), 401, "unauthorized")

    assert all(place in error.error for place in ("api_key", "X-API-Key", "Authorization: Bearer"))


@pytest.mark.parametrize("key", [5, True, ["lksalsdfjliadfds"], {"key": "lksalsdfjliadfds"}, 1.5, "\x00", "🔑" * 1000])
def test_a_key_of_a_wrong_type_is_401(world, assert_error, key):
    """Given a key that is no text, when posted, then 401, never 500."""
    assert_error(post(world.client, {"api_key": key}, {}), 401, "unauthorized")


def test_set_keys_shut_out_the_dummy(world, assert_error):
    """Given API_KEYS, when the dummy is sent, then 401; each of the keys opens."""
    client = world.another_client(api_keys=("one", "schlüssel"))

    assert_error(post(client, {"api_key": DUMMY_API_KEY}, {}), 401, "unauthorized")
    assert post(client, {"api_key": "one"}, {}).status_code == 202
    assert post(client, {"api_key": "schlüssel"}, {}).status_code == 202
    assert post(client, {}, {"Authorization": "bearer one"}).status_code == 202


def test_a_right_key_opens_beside_a_wrong_one(world):
    """Given a template with the dummy in its body, when the real key comes as a header, then it opens."""
    client = world.another_client(api_keys=("one",))

    assert post(client, {"api_key": DUMMY_API_KEY}, {"X-API-Key": "one"}).status_code == 202


def test_the_key_is_kept_nowhere(world):
    """Given a request, when its record is looked at, then the key is not in it."""
    job_id = world.submit()

    assert DUMMY_API_KEY not in str(world.redis.hgetall(f"pd:job:{job_id}"))


def test_a_key_is_asked_for_before_the_body_is_judged(world, assert_error):
    """Given a wrong key and a bad body, when posted, then 401 says nothing about the body."""
    error = assert_error(post(world.client, {"api_key": "wrong", "ddim_steps": 0}, {}), 401, "unauthorized")

    assert error.fields == {}


def test_without_keys_every_start_warns(world, caplog):
    """Given no API_KEYS, when an application is made, then the log warns; with keys it is silent."""
    world.another_client(api_keys=("one",))
    assert "API_KEYS" not in caplog.text
    world.another_client()
    assert "API_KEYS is not set" in caplog.text


@pytest.mark.parametrize("sent", ["one", "three", "a wrong one", "o", ""])
def test_every_key_is_compared_in_constant_time(world, monkeypatch, sent):
    """Given several keys, when any is sent, then it meets each of them, and only in the constant-time comparison."""
    seen = []

    def compare(given, key):
        assert isinstance(given, bytes)
        seen.append(key.decode())
        return given == key

    monkeypatch.setattr("api.http.auth.hmac.compare_digest", compare)
    client = world.another_client(api_keys=("one", "two", "three"))

    status = post(client, {}, {"X-API-Key": sent}).status_code
    assert status == (202 if sent in ("one", "three") else 401)
    assert seen == (["one", "two", "three"] if sent else [])


def test_a_proxys_own_password_leaves_the_word_to_the_key_in_the_body(world, assert_error):
    """Given the password of a proxy in the header, when the body has a right key, then it opens; with a wrong one or
    none it is 401."""
    foreign = basic("proxy:its own")

    assert post(world.client, {"api_key": DUMMY_API_KEY}, foreign).status_code == 202
    assert_error(post(world.client, {"api_key": "wrong"}, foreign), 401, "unauthorized")
    assert_error(post(world.client, {}, foreign), 401, "unauthorized")


def test_wrong_passwords_count_as_wrong_keys(world, assert_error):
    """Given a limit on wrong keys, when wrong passwords pass it, then a right one is not looked at any more."""
    client = world.another_client(wrong_keys_per_minute=2)

    for _ in range(2):
        assert_error(post(client, {}, basic("x:wrong")), 401, "unauthorized")
    assert_error(post(client, {}, basic(f"x:{DUMMY_API_KEY}")), 429, "too_many_wrong_keys")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("key", ["wrong", ""])
def test_open_access_needs_no_key_and_ignores_wrong_ones(world, place, key):
    """Given OPEN_ACCESS, when no key or a wrong one comes, however often, then 202 and nobody is shut out."""
    client = world.another_client(open_access=True, wrong_keys_per_minute=1)

    for _ in range(3):
        assert post(client, *PLACES[place](key)).status_code == 202
    assert client.get("/recent").status_code == 200


def test_with_open_access_a_right_key_still_names_its_owner(world):
    """Given OPEN_ACCESS and keys, when jobs come with a key and without, then each sees its own recent images."""
    client = world.another_client(open_access=True, api_keys=("one",))
    with_key = world.work(post(client, {}, {"X-API-Key": "one"}).json["task_id"])
    without = world.work(post(client, {}, {}).json["task_id"])

    def recent(headers):
        return client.get("/recent", headers=headers).json["Recent_finished_images"]

    assert recent({"X-API-Key": "one"}) == [f"/status/{with_key}"]
    assert recent({}) == recent({"X-API-Key": "wrong"}) == [f"/status/{without}"]
