"""A sheet of 64 prompts and their images: `python -m demo_model.contact_sheet`."""

from __future__ import annotations

import textwrap
from pathlib import Path

import click
import torch
from PIL import Image, ImageDraw, ImageFont

from demo_model.painter import Painter
from demo_model.prompts import SHEET
from demo_model.release import WEIGHTS

COLUMNS = 8
SIDE = 128
CAPTION = 46


def compose(prompts: tuple[str, ...], images: list[Image.Image]) -> Image.Image:
    """The images in rows of eight, each above its prompt."""
    rows = -(-len(images) // COLUMNS)
    cell_width, cell_height = SIDE + 8, SIDE + CAPTION
    sheet = Image.new("RGB", (COLUMNS * cell_width, rows * cell_height), (255, 255, 255))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for i, (prompt, image) in enumerate(zip(prompts, images, strict=True)):
        x, y = (i % COLUMNS) * cell_width + 4, (i // COLUMNS) * cell_height + 4
        sheet.paste(image, (x, y))
        words = "\n".join(textwrap.wrap(prompt or "(empty prompt)", 25)[:3])
        pen.multiline_text((x, y + SIDE + 2), words, fill=(0, 0, 0), font=font, spacing=1)
    return sheet


@click.command()
@click.option("--model", type=click.Path(path_type=Path, exists=True), default=WEIGHTS, help="The model folder.")
@click.option("--out", type=click.Path(path_type=Path), default=Path(__file__).parent / "contact_sheet.png")
@click.option("--seed", default=2026, show_default=True)
@click.option("--threads", default=2, show_default=True)
def main(model: Path, out: Path, seed: int, threads: int) -> None:
    """Paint the sheet: the first image of each prompt, none chosen by hand."""
    torch.set_num_threads(threads)
    painter = Painter(model)
    with click.progressbar(length=len(SHEET), label="painting") as bar:
        painter.on_painted = bar.update
        images = painter.paint(SHEET, [seed + i for i in range(len(SHEET))])
    compose(SHEET, images).save(out, optimize=True)


if __name__ == "__main__":
    main()
