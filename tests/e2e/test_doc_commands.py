"""The commands of README and `docs/clients.md`, run as a reader would: one after the other, in one folder."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from shared.settings import Settings
from tests.e2e.service import REPOSITORY, Service


@pytest.mark.parametrize(
    ("page", "commands_at_least", "images"),
    [("README.md", 5, ["circle.png", "square.png", "redrawn.png"]), ("docs/clients.md", 4, ["answer"])],
)
def test_the_commands_work_in_the_order_of_the_page(
    service: Service, tmp_path: Path, page: str, commands_at_least: int, images: list[str]
) -> None:
    """Given a running service, when every curl block of a page is run, then each succeeds and gives its image."""
    assert shutil.which("curl"), "the commands need curl"
    blocks = re.findall(r"^```sh\n(.*?)^```", (REPOSITORY / page).read_text(), re.DOTALL | re.MULTILINE)
    commands = [block for block in blocks if "curl" in block]
    assert len(commands) >= commands_at_least
    address = f"http://127.0.0.1:{Settings().port}"
    script = "\n".join(["set -euo pipefail", *commands]).replace(address, service.url)

    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stdout + done.stderr
    for name in images:
        with Image.open(tmp_path / name) as image:
            assert image.format == "PNG", name
    assert '"State":"SUCCESS"' in done.stdout  # cancelling what is done changes nothing
