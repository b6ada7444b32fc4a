"""Pages of other origins: shut out, unless the operator names them."""

import pytest

from api.app import create_app
from shared.settings import DUMMY_API_KEY

PAGE = "https://page.example"


SENT = {"authorization", "content-type", "idempotency-key", "x-api-key"}


def preflight(client, origin=PAGE, headers=SENT):
    asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": ",".join(sorted(headers))}
    return client.options("/generate", headers={"Origin": origin} | asking)


def told(answer):
    return {name for name, _ in answer.headers if name.startswith("Access-Control")}


def test_without_the_setting_no_page_is_let_in(world):
    """Given no CORS_ORIGINS, when a browser asks for a page of another origin, then nothing allows it."""
    assert told(preflight(world.client)) == set()
    assert told(world.client.get("/health", headers={"Origin": PAGE})) == set()


def test_a_page_that_is_named_is_let_in_and_no_other(world):
    """Given one origin, when a browser asks for it, then post, key and retry are allowed; for others nothing."""
    client = world.another_client(cors_origins=(PAGE,))

    allowed = preflight(client)
    assert allowed.status_code == 200
    assert allowed.headers["Access-Control-Allow-Origin"] == PAGE
    assert "POST" in allowed.headers["Access-Control-Allow-Methods"]
    assert set(allowed.headers["Access-Control-Allow-Headers"].lower().split(", ")) == SENT
    assert allowed.headers["Access-Control-Max-Age"] == "600"
    assert "Origin" in allowed.headers["Vary"]
    assert "Access-Control-Allow-Credentials" not in allowed.headers
    for other in ("https://page.example.evil.example", "http://page.example", "null", "*", ""):
        refused = preflight(client, other)
        assert told(refused) == set()
        assert "Origin" in refused.headers["Vary"], "or a cache would show one page the answer for another"


@pytest.mark.parametrize(("body", "status"), [({"prompt": "a cat"}, 202), ({"prompt": 5}, 400), ({}, 400)])
def test_a_page_can_read_errors_and_headers_too(world, body, status):
    """Given an origin that is let in, when it posts, then it may read the answer, also an error, and its headers."""
    client = world.another_client(cors_origins=(PAGE,))

    answer = client.post("/generate", json=body, headers={"Origin": PAGE, "X-API-Key": DUMMY_API_KEY})

    assert answer.status_code == status
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_page_may_send_no_other_header_and_use_no_other_method(world):
    """Given an origin that is let in, when it asks for a header or method of no use here, then neither is allowed."""
    client = world.another_client(cors_origins=(PAGE,))

    assert "x-forwarded-for" not in str(preflight(client, headers={"x-forwarded-for", "range"}).headers).lower()
    asking = {"Origin": PAGE, "Access-Control-Request-Method": "PUT"}
    assert "Access-Control-Allow-Methods" not in client.options("/generate", headers=asking).headers


def test_an_address_in_brackets_is_itself_and_no_pattern(world):
    """Given an origin of IPv6, when it and one that its text would match as a pattern ask, then it alone is let in."""
    client = world.another_client(cors_origins=("http://[::1]:8080",))

    assert preflight(client, "http://[::1]:8080").headers["Access-Control-Allow-Origin"] == "http://[::1]:8080"
    assert told(preflight(client, "http://1:8080")) == set()


def test_an_error_of_our_own_can_be_read_as_well(world, monkeypatch):
    """Given an origin that is let in, when the service itself fails, then the page may read the 500, once allowed."""
    services = world.build(cors_origins=(PAGE,))
    monkeypatch.setattr(services.jobs, "get", lambda _: 1 / 0)

    answer = create_app(services).test_client().get("/status/x", headers={"Origin": PAGE})

    assert answer.status_code == 500
    assert answer.headers.getlist("Access-Control-Allow-Origin") == [PAGE]


def test_a_star_lets_every_page_in(world):
    """Given `*`, when any page asks, then it is let in, without cookies."""
    answer = preflight(world.another_client(cors_origins=("*",)))

    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer.headers
