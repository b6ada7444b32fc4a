"""Chromium for the tests of the page: where it is, and how it is started."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
MISSING = "no Chromium on the PATH: the tests of the page need one (Debian and Ubuntu: apt install chromium)"


def find_chromium() -> str | None:
    """The path of the Chromium or Chrome of this machine."""
    return next((path for name in _PROGRAMS if (path := shutil.which(name))), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser that is closed in the end; raises LookupError where there is none."""
    path = find_chromium()
    if path is None:
        raise LookupError(MISSING)
    # root, as in a container, has no sandbox; what is opened here is our own page
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def draw(page: Page, prompt: str) -> None:
    """Ask for an image the way a person does, and wait until the request is accepted."""
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_label("Prompt", exact=True).press("Control+Enter")
    page.locator("#draw:enabled").wait_for()
