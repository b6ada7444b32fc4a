"""Pages of other origins: shut out, unless the operator names them."""

import pytest

from shared.settings import DUMMY_API_KEY

PAGE = "https://page.example"


def preflight(client, origin=PAGE):
    asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-api-key"}
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
    assert {"X-API-Key", "Idempotency-Key", "Content-Type", "Authorization"} <= set(
        allowed.headers["Access-Control-Allow-Headers"].split(", ")
    )
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


def test_a_star_lets_every_page_in(world):
    """Given `*`, when any page asks, then it is let in, without cookies."""
    answer = preflight(world.another_client(cors_origins=("*",)))

    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer.headers
