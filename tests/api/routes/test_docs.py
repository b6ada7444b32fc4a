"""`GET /docs` and `/openapi.json`: everything comes from here, and nothing runs that was not meant to."""

import hashlib
import re
from pathlib import Path

import pytest

from api.document import EXAMPLE_IMAGE_NAME, EXAMPLE_JOB_ID, IDEMPOTENCY_KEY

STATIC = Path(__file__).parents[3] / "api" / "static"


def directives(answer):
    policy = answer.headers["Content-Security-Policy"]
    return {name: values.split() for name, _, values in (each.strip().partition(" ") for each in policy.split(";"))}


def test_the_page_allows_nothing_from_elsewhere(client):
    """Given the page, when a browser asks for it, then its policy allows this server's own files alone."""
    answer = client.get("/docs")
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    policy = directives(answer)
    assert policy["default-src"] == ["'none'"]
    assert (policy["script-src"], policy["style-src"], policy["connect-src"]) == (["'self'"],) * 3
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert "<script>" not in answer.text
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", answer.text)


def test_the_page_finds_all_that_it_names(client):
    """Given what the page refers to, when it is asked for, then it comes with its type, and may be kept."""
    named = re.findall(r"(?:src|href)=\"([\w./-]+)\"", client.get("/docs").text)
    assert "openapi.json" in named
    kinds = {".js": "text/javascript", ".css": "text/css", ".json": "application/json"}
    for name in named:
        answer = client.get(f"/{name}")
        assert (answer.status_code, answer.mimetype) == (200, kinds[Path(name).suffix]), name
        again = client.get(f"/{name}", headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304, name


@pytest.mark.parametrize("name", ["nothing.js", "index.html", "..%2f..%2fapp.py", "LICENSE"])
def test_only_the_files_of_the_page_are_given(client, assert_error, name):
    """Given another name, when it is asked for, then 404."""
    assert_error(client.get(f"/docs/{name}"), 404, "not_found")


def test_the_script_knows_the_examples(client):
    """Given the ids that stand in examples, then the page's script looks for these."""
    script = client.get("/docs/docs.js").text
    assert f'"{EXAMPLE_JOB_ID}"' in script
    assert f'"{EXAMPLE_IMAGE_NAME}"' in script
    assert f'"{IDEMPOTENCY_KEY["example"]}"' in script


def test_swagger_ui_is_what_its_note_says():
    """Given the files that were taken from Swagger UI, then the note beside them has their sums, and the licence lies
    there."""
    folder = STATIC / "swagger-ui"
    noted = dict(re.findall(r"\| `([\w.-]+)` \| `([0-9a-f]{64})` \|", (folder / "ORIGIN.md").read_text()))
    assert set(noted) == {"swagger-ui-bundle.js", "swagger-ui.css"}
    for name, digest in noted.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name
    assert "Apache License" in (folder / "LICENSE").read_text()
