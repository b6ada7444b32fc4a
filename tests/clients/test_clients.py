"""Foreign clients, as they are published, against the real service: each script checks what its client can do.

`make test-clients` installs them and runs this. A script ends with a sentence where something is not so.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from shared.settings import DUMMY_API_KEY
from tests.e2e.service import Api, Service

pytestmark = pytest.mark.full
HERE = Path(__file__).parent
NODE_SCRIPTS = ("openai_node.mjs", "ai_sdk.mjs")
PYTHON_SCRIPTS = (
    "langchain_images.py", "llama_index_images.py", "sd_backend_images.py", "image_generation_mcp_images.py",
    "sd_api_mcp_images.py",
)  # fmt: skip


@pytest.mark.parametrize("script", NODE_SCRIPTS)
def test_a_client_in_javascript_works(service: Service, full_api: Api, installed: Path, script: str) -> None:
    """Given a client from npm, when its script is run against the service, then everything it checks is so."""
    node = shutil.which("node")
    if not node or not (installed / "node_modules").is_dir():
        pytest.skip("no Node here")
    for file in ("checks.mjs", script):  # a script finds packages in the folders above its own
        shutil.copy(HERE / file, installed / file)
    _run([node, str(installed / script)], service, full_api)


@pytest.mark.parametrize("script", PYTHON_SCRIPTS)
def test_a_client_in_python_works(service: Service, full_api: Api, installed: Path, script: str) -> None:
    """Given a client from PyPI in an environment of its own, when its script is run, then all it checks is so."""
    python = installed / Path(script).stem / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{script} has no environment: run `make test-clients`")
    _run([str(python), str(HERE / script)], service, full_api)


def _run(command: list[str], service: Service, full_api: Api) -> None:
    told = {"SERVICE_URL": service.url, "FULL_SERVICE_URL": full_api.url, "SERVICE_KEY": DUMMY_API_KEY}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "PYTHON"))}
    done = subprocess.run(command, env=kept | told, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
