"""All images of a job on one sheet."""

from collections.abc import Iterable

from PIL import Image

from shared.request.sizes import GridPlan

_BACKGROUND = (0, 0, 0)


def grid(images: Iterable[Image.Image], plan: GridPlan) -> Image.Image:
    """All images on one sheet, left to right, row by row; black where the last row is not full.

    Takes one image at a time, and makes it as large as a cell of the plan.
    """
    sheet = Image.new("RGB", plan.size, _BACKGROUND)
    cell = (plan.cell_width, plan.cell_height)
    for number, image in enumerate(images):
        row, column = divmod(number, plan.columns)
        fitting = image if image.size == cell else image.resize(cell, Image.Resampling.LANCZOS)
        sheet.paste(fitting, (column * cell[0], row * cell[1]))
    return sheet
