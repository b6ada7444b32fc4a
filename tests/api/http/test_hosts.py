"""While the public key opens the server: under which names it answers, and to whose pages."""

import pytest

from shared.settings import DUMMY_API_KEY

KEY = {"X-API-Key": DUMMY_API_KEY}
PAGE = "https://page.example"


def ask(client, method="GET", path="/recent", **headers):
    return client.open(
        path, method=method, headers=KEY | headers, json={"prompt": "a cat"} if method == "POST" else None
    )


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:5001", "127.0.0.1", "127.0.0.1:5001", "[::1]", "[::1]:5001", "192.168.1.7:80",
     "localhost.", "Localhost.:5001", "127.0.0.1.", "[2001:DB8::1]:5001", "[fe80::1%25eth0]:5001"],
)  # fmt: skip
def test_names_that_cannot_be_rebound_are_answered(client, host):
    """Given no API_KEYS, when asked for as localhost or by an address, then 200."""
    assert ask(client, Host=host).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:5001", "localhost.evil.example", "127.0.0.1.evil.example", "evil@127.0.0.1",
     "evil.example#@127.0.0.1", "x", "[::1", "localhost,evil.example", "127.0.0.1/evil.example"],
)  # fmt: skip
def test_a_rebound_name_gets_nothing(world, assert_error, host):
    """Given no API_KEYS, when a page asks under a name of its own, then 421 at every address, and nothing is queued."""
    for method, path in (("GET", "/recent"), ("POST", "/generate"), ("GET", "/health"), ("GET", "/nowhere")):
        same = {"Host": host, "Origin": f"http://{host}"}
        assert_error(ask(world.client, method, path, **same), 421, "host_not_allowed")
    assert world.queue.messages == []


def test_names_of_the_operator_are_answered(world, assert_error):
    """Given ALLOWED_HOSTS, when asked for under them, then 200; under others 421."""
    client = world.another_client(allowed_hosts=("images.lan", "*.example"))

    for host in ("images.lan", "Images.LAN:8080", "a.example", "a.b.example", "localhost"):
        assert ask(client, Host=host).status_code == 200, host
    for host in ("other.lan", "example", "evilexample", "images.lan.evil"):
        assert_error(ask(client, Host=host), 421, "host_not_allowed")
    assert ask(world.another_client(allowed_hosts=("*",)), Host="any.name").status_code == 200


@pytest.mark.parametrize(
    "origin",
    [PAGE, "null", "http://localhost:3000", "https://localhost:80", "app://localhost", "http://localhost.evil.example",
     "localhost", "", "*"],
)  # fmt: skip
def test_a_page_of_another_origin_is_refused(world, assert_error, origin):
    """Given no API_KEYS, when a foreign page asks, then 403, whatever it asks for, and nothing is queued."""
    for method, path in (("GET", "/recent"), ("POST", "/generate"), ("POST", "/cancel/x"), ("OPTIONS", "/generate")):
        assert_error(ask(world.client, method, path, Origin=origin), 403, "origin_not_allowed")
    assert world.queue.messages == []


def test_our_own_pages_and_those_of_the_operator_are_answered(world):
    """Given no API_KEYS, when a page of our own or of CORS_ORIGINS asks, then 200."""
    assert ask(world.client, Host="127.0.0.1:5001", Origin="http://127.0.0.1:5001").status_code == 200
    assert ask(world.another_client(cors_origins=(PAGE,)), Origin=PAGE).status_code == 200
    assert ask(world.another_client(cors_origins=("*",)), Origin=PAGE).status_code == 200


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://images.lan", "images.lan"),
        ("https://images.lan", "images.lan:443"),
        ("http://images.lan", "Images.LAN:80"),
        ("http://[::1]:5001", "[::1]:5001"),
        ("http://[::1]", "[::1]"),
    ],
)
def test_a_page_of_our_own_may_come_through_a_proxy(world, origin, host):
    """Given ALLOWED_HOSTS and a proxy, with TLS or without, when our own page asks, then 200."""
    client = world.another_client(allowed_hosts=("images.lan",))
    assert ask(client, Host=host, Origin=origin).status_code == 200


def test_who_sets_keys_needs_none_of_it(world):
    """Given API_KEYS, when asked for under any name and by any page, then the key alone decides."""
    client = world.another_client(api_keys=("one",))

    strange = {"Host": "evil.example", "Origin": PAGE}
    assert client.get("/recent", headers=strange | {"X-API-Key": "one"}).status_code == 200
    assert client.get("/recent", headers=strange | KEY).status_code == 401


def test_with_open_access_foreign_pages_are_refused_though_keys_are_set(world, assert_error):
    """Given OPEN_ACCESS and API_KEYS, when a foreign page or a rebound name posts without a key, then nothing is
    queued."""
    client = world.another_client(open_access=True, api_keys=("one",))

    assert_error(ask(client, "POST", "/generate", Origin=PAGE), 403, "origin_not_allowed")
    assert_error(ask(client, "POST", "/generate", Host="evil.example"), 421, "host_not_allowed")
    assert_error(client.post("/cancel/x", headers={"Origin": "null"}), 403, "origin_not_allowed")
    assert world.queue.messages == []


def test_a_foreign_page_cannot_use_the_password_that_a_browser_keeps(world, assert_error):
    """Given API_KEYS, when a browser adds its kept password to the post of a foreign page, then 403; our own page and
    programs are answered."""
    client = world.another_client(api_keys=("one",), allowed_hosts=())
    kept = {"Authorization": "Basic dXNlcjpvbmU=", "Host": "images.lan"}

    def post(**headers):
        return client.post("/generate", headers=kept | headers, json={"prompt": "a cat"})

    assert_error(post(Origin=PAGE), 403, "origin_not_allowed")
    assert world.queue.messages == []
    assert post(Origin="http://images.lan").status_code == 202
    assert post().status_code == 202
