"""The sheet of the demo model's adapters in docs/models.md: `python -m benchmarks.adapters_sheet`.

The first image of each request, none chosen by hand.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from PIL import Image, ImageDraw, ImageFont

from benchmarks.adapters_meaning import FEW, Studio
from shared.settings import read_settings

SHEET = Path(__file__).parents[1] / "docs" / "images" / "adapters.webp"
ROWS = (("red", "heart", "blue"), ("yellow", "star", "purple"), ("green", "square", "white"))
PLAIN, BELL = "a {0} {1} on a {2} background", "a {0} demo-bell on a {2} background"
#: What stands above each column: the prompt, and what the request has beside it.
COLUMNS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "no LoRA": (PLAIN, {}),
    "demo-sketch 0.5": (PLAIN, {"lora": "demo-sketch", "weight": 0.5}),
    "demo-sketch 1": (PLAIN, {"lora": "demo-sketch"}),
    "demo-night 0.5": (PLAIN, {"lora": "demo-night", "weight": 0.5}),
    "demo-night 1": (PLAIN, {"lora": "demo-night"}),
    "demo-lcm, 4 steps": (PLAIN, {"lora": "demo-lcm", **FEW}),
    "demo-bell": (BELL, {}),
}
SIDE, GAP, CAPTION = 128, 6, 16


def compose(columns: Mapping[str, Sequence[Image.Image]]) -> Image.Image:
    """The images (128x128) in columns, each under its name."""
    rows = max(map(len, columns.values()))
    sheet = Image.new("RGB", (len(columns) * (SIDE + GAP) - GAP, CAPTION + rows * (SIDE + GAP) - GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for column, (name, images) in enumerate(columns.items()):
        x = column * (SIDE + GAP)
        pen.text((x, 0), name, fill="black", font=font)
        for row, image in enumerate(images):
            sheet.paste(image, (x, CAPTION + row * (SIDE + GAP)))
    return sheet


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=SHEET, show_default=True)
def main(out: Path) -> None:
    """Draw the sheet."""
    studio = Studio(read_settings())
    columns = {
        name: studio.draw([prompt.format(*words) for words in ROWS], **more) for name, (prompt, more) in COLUMNS.items()
    }
    studio.engine.stop()
    compose(columns).save(out, quality=88, method=6)


if __name__ == "__main__":
    main()
