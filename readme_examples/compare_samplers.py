"""Draw one prompt with every sampler of a running service and lay the images out on one sheet, `samplers.png`.

`python readme_examples/compare_samplers.py [http://127.0.0.1:5001] [key]`
"""

import logging
import sys
from pathlib import Path

from PIL import Image, ImageDraw

from client import Client
from shared.settings import DUMMY_API_KEY

FOLDER = Path(__file__).parent
PROMPT, SEED = "a house and a tree on a sunny day", 12
STEPS = (5, 20)
SIDE, LABEL, COLUMNS = 128, 16, 5
log = logging.getLogger("readme_examples")


def main(service: str = "http://127.0.0.1:5001", key: str = DUMMY_API_KEY) -> None:
    """Draw the sheet: for each sampler the image after few steps beside that after the usual number."""
    with Client(service, key) as client:
        samplers = [sampler["name"] for sampler in client.samplers()["samplers"]]
        # all are queued before the first is waited for: the service draws them together
        jobs = {
            name: [client.generate(PROMPT, seed=SEED, sampler=name, steps=steps) for steps in STEPS]
            for name in samplers
        }
        width, height = SIDE * len(STEPS) + 8, SIDE + LABEL
        sheet = Image.new("RGB", (width * COLUMNS, height * -(-len(samplers) // COLUMNS)), "white")
        pen = ImageDraw.Draw(sheet)
        for number, name in enumerate(samplers):
            left, top = width * (number % COLUMNS), height * (number // COLUMNS)
            pen.text((left + 2, top + 2), f"{name}  {STEPS[0]} and {STEPS[1]} steps", fill="black")
            for place, job in enumerate(jobs[name]):
                sheet.paste(job.images[0].resize((SIDE, SIDE)), (left + place * SIDE, top + LABEL))
            log.info("%s", name)
    sheet.save(FOLDER / "samplers.png")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(*sys.argv[1:])
