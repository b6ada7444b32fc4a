"""The page as it leaves the server; what it does in a browser is tested in `tests/e2e/test_page.py`."""

import re

import pytest

from shared.settings import DUMMY_API_KEY

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def test_browsers_get_the_page_under_a_strict_policy(world):
    """Given a browser, when it opens the address, then the page comes, and may run nothing but its own files."""
    answer = world.client.get("/", headers={"Accept": BROWSER})

    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=|https?://", answer.text)


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/json, text/plain, */*"])
def test_programs_get_json(world, accept):
    """Given a program that pings the address, when it does not ask for HTML, then it learns the default model."""
    headers = {"Accept": accept} if accept else {}
    answer = world.client.get("/", headers=headers)

    assert (answer.status_code, answer.mimetype, answer.json["model"]) == (200, "application/json", "demo")
    assert "Accept" in answer.headers["Vary"]
    assert world.client.head("/", headers=headers).status_code == 200


def test_the_page_knows_the_public_key_and_no_other(world):
    """Given a service without keys of its own, then its page has the public one; with keys, the page has none."""
    keyed = world.another_client(api_keys=("a secret",))

    assert f'content="{DUMMY_API_KEY}"' in world.client.get("/", headers={"Accept": BROWSER}).text
    page = keyed.get("/", headers={"Accept": BROWSER}).text
    assert 'name="key" content=""' in page
    assert "a secret" not in page


def test_its_files_are_there_and_nothing_else(world):
    """Given the page, when what it names is asked for, then it comes with its type; what is outside does not."""
    page = world.client.get("/", headers={"Accept": BROWSER}).text
    names = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)

    assert len(names) >= 4
    for name in names:
        answer = world.client.get(name)
        assert answer.status_code == 200, name
        assert answer.mimetype in ("text/javascript", "text/css", "image/svg+xml"), name
        again = world.client.get(name, headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304, "a browser keeps it until it changes"
    for outside in ("../app.py", "%2e%2e/app.py", "nothing.js", "vendor", "index.html"):
        assert world.client.get(f"/static/{outside}").status_code == 404, outside
