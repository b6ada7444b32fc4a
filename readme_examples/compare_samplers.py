"""Draw one prompt with every sampler of a running service and lay the images out on one sheet, `samplers.png`.

`python readme_examples/compare_samplers.py [http://127.0.0.1:5001] [key]`
"""

import base64
import io
import json
import logging
import sys
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from PIL import Image, ImageDraw

FOLDER = Path(__file__).parent
DUMMY_KEY = "lksalsdfjliadfds"
BODY = {"prompt": "a house and a tree on a sunny day", "seed": 12, "return_base64": True, "synchronous_request": True}
STEPS = (5, 20)
SIDE, LABEL, COLUMNS = 128, 16, 5
log = logging.getLogger("readme_examples")


def ask(url: str, body: dict[str, Any] | None, key: str) -> Any:
    """GET, or POST a body; gives the JSON of the answer."""
    headers = {"Content-Type": "application/json", "X-API-Key": key}
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, headers), timeout=300) as answer:  # noqa: S310 - the operator's own address
        return json.load(answer)


def main(service: str = "http://127.0.0.1:5001", key: str = DUMMY_KEY) -> None:
    """Draw the sheet: for each sampler the image after few steps beside that after the usual number."""
    samplers = ask(f"{service}/samplers", None, key)["samplers"]
    rows = -(-len(samplers) // COLUMNS)
    width, height = SIDE * len(STEPS) + 8, SIDE + LABEL
    sheet = Image.new("RGB", (width * COLUMNS, height * rows), "white")
    pen = ImageDraw.Draw(sheet)
    for number, sampler in enumerate(samplers):
        left, top = width * (number % COLUMNS), height * (number // COLUMNS)
        pen.text((left + 2, top + 2), f"{sampler['name']}  {STEPS[0]} and {STEPS[1]} steps", fill="black")
        for place, steps in enumerate(STEPS):
            answer = ask(f"{service}/generate", BODY | {"sampler": sampler["name"], "ddim_steps": steps}, key)
            image = Image.open(io.BytesIO(base64.b64decode(answer["Image"][0])))
            sheet.paste(image.resize((SIDE, SIDE)), (left + place * SIDE, top + LABEL))
        log.info("%s", sampler["name"])
    sheet.save(FOLDER / "samplers.png")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(*sys.argv[1:])
