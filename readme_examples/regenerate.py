"""Draw every example of this folder with a running service and store the image under the same name.

`python readme_examples/regenerate.py [http://127.0.0.1:5001] [key]`. An `img2img_*.json` names its input image in
this folder instead of holding it, so that the examples stay readable.
"""

import base64
import json
import logging
import sys
from pathlib import Path
from typing import Any

from client import Client
from shared.settings import DUMMY_API_KEY

FOLDER = Path(__file__).parent
log = logging.getLogger("readme_examples")


def examples() -> list[Path]:
    """The request bodies, by name; those that need another one's image come last."""
    return sorted(FOLDER.glob("*.json"), key=lambda file: (file.stem.startswith("img2img"), file.stem))


def request_of(file: Path) -> tuple[str, dict[str, Any]]:
    """(path, body) of an example, with its input image filled in."""
    body = json.loads(file.read_text(encoding="utf-8"))
    if not file.stem.startswith("img2img"):
        return "/generate", body
    image = (FOLDER / body["init_img"]).read_bytes()
    return "/img2img", body | {"init_img": base64.b64encode(image).decode()}


def main(service: str = "http://127.0.0.1:5001", key: str = DUMMY_API_KEY) -> None:
    """Draw all examples: the grid where one was asked for, else the first image."""
    with Client(service, key) as client:
        for file in examples():
            job = client.submit(*request_of(file)).wait()
            name, data = job.grid_file or job.files[0]
            file.with_suffix(Path(name).suffix).write_bytes(data)
            log.info("%s: %d bytes", file.stem, len(data))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(*sys.argv[1:])
