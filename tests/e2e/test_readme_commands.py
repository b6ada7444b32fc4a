"""The README's commands, run as a reader would: one after the other, in one folder."""

import re
import shutil
import subprocess
from pathlib import Path

from PIL import Image

from shared.settings import Settings
from tests.e2e.service import REPOSITORY, Service


def test_the_commands_work_in_the_order_of_the_page(service: Service, tmp_path: Path) -> None:
    """Given a running service, when every curl block of the README is run, then each succeeds and draws its image."""
    assert shutil.which("curl"), "the README's commands need curl"
    blocks = re.findall(r"^```sh\n(.*?)^```", (REPOSITORY / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    commands = [block for block in blocks if "curl" in block]
    assert len(commands) >= 5
    address = f"http://127.0.0.1:{Settings().port}"
    script = "\n".join(["set -euo pipefail", *commands]).replace(address, service.url)

    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("circle.png", "square.png", "redrawn.png"):
        with Image.open(tmp_path / name) as image:
            assert image.format == "PNG", name
    assert '"State":"SUCCESS"' in done.stdout  # cancelling what is done changes nothing
