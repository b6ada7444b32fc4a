"""`GET /docs` in a real browser: it shows every endpoint, and its examples can be sent, one after the other."""

import os
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser import MISSING, chromium, find_chromium
from tests.e2e.service import Service

expect.set_options(timeout=60_000)  # a loaded machine takes its time


@pytest.fixture(scope="module")
def page(service: Service) -> Iterator[Page]:
    """The page, as a person opens it; in the end it has had no errors, met no policy, and asked nobody else.

    Skips with a clear word where there is no Chromium, but fails in CI.
    """
    if find_chromium() is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    faults: list[str] = []
    with chromium() as browser:
        opened = browser.new_page(viewport={"width": 1280, "height": 900})
        opened.set_default_timeout(60_000)
        opened.on("pageerror", lambda error: faults.append(str(error)))
        opened.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        opened.on("request", lambda asked: None if asked.url.startswith((service.url, "blob:", "data:"))
                  else faults.append(asked.url))  # fmt: skip
        opened.goto(f"{service.url}/docs")
        opened.locator(".opblock").first.wait_for()
        yield opened
    assert faults == []


def send(page: Page, operation: str) -> str:
    """Open an operation and send its example as it is; gives the status of the answer."""
    block = page.locator(f"[id$='-{operation}'].opblock")
    if not block.locator(".execute").count():
        block.locator(".opblock-summary-control").click()
    block.locator(".execute").click()
    status = block.locator(".live-responses-table .response .response-col_status")
    status.wait_for()
    found = re.match(r"\d+", status.inner_text())
    assert found, status.inner_text()
    return found[0]


def test_the_page_shows_every_operation(page: Page, service: Service) -> None:
    """Given the document, when the page is open, then each of its operations is there."""
    document = service.get("/openapi.json").json()
    shown = {name.rpartition("-")[2] for name in page.locator(".opblock").evaluate_all("all => all.map(one => one.id)")}
    assert shown == {
        operation["operationId"]
        for item in document["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    }


def test_examples_can_be_sent_one_after_the_other(page: Page, service: Service) -> None:
    """Given the public key, when POST /generate is sent and then the examples about a job, then they are about that
    job, each is accepted, and its image is shown."""
    with page.expect_response("**/generate") as accepted:
        assert send(page, "native_generate") == "202"
    job_id = accepted.value.json()["task_id"]
    assert service.wait(job_id).headers["Content-Type"] == "image/png"

    with page.expect_response(f"**/status/{job_id}*"):
        assert send(page, "jobs_status") == "200"
    with page.expect_response(f"**/images/{job_id}/*"):
        assert send(page, "jobs_image") == "200"
    expect(page.locator("[id$='-jobs_image'] .live-responses-table img")).to_be_visible()
