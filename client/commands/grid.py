"""`pdiff grid`: images of this machine on one sheet; the last step of a workflow whose tasks drew one each."""

import io
import math
from pathlib import Path

import click

from client.errors import LocalError, NotAnImageFile
from shared.files import write_file


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The sheet.")
@click.option("--columns", type=click.IntRange(1, 64), help="Images in a row; without it, about as many as rows.")
def grid(images: tuple[Path, ...], output: Path, columns: int | None) -> None:
    """Lay IMAGES out on one sheet, in the order in which they are named."""
    from PIL import Image

    from client.outputs import format_of
    from shared.request.grid import grid as laid_out
    from shared.request.sizes import plan_cells

    kind = format_of(str(output), None) or "png"
    opened = []
    for path in images:
        try:
            with Image.open(path) as image:
                opened.append(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no image that can be read"
            raise NotAnImageFile(f"{path}: {reason}.") from None
    plan = plan_cells(len(opened), columns or math.ceil(math.sqrt(len(opened))), opened[0].size, kind)
    out = io.BytesIO()
    laid_out(opened, plan).save(out, "JPEG" if kind == "jpg" else kind.upper(), quality=95)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_file(output, out.getvalue())
    except OSError as error:
        raise LocalError(f"{output} cannot be written: {error.strerror}.") from None
    click.echo(output)
