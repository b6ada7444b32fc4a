"""Grids: where each image stands, and what is black."""

from PIL import Image

from shared.request.grid import grid
from shared.request.sizes import GridPlan


def test_grid_fills_rows_and_leaves_the_rest_black() -> None:
    """Given three images, when two go in a row, then the third starts the second row and the last cell is black."""
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    sheet = grid((Image.new("RGB", (8, 6), colour) for colour in colours), GridPlan(2, 2, 8, 6))
    assert sheet.size == (16, 12)
    corners = [sheet.getpixel(place) for place in ((0, 0), (8, 0), (0, 6), (8, 6))]
    assert corners == [*colours, (0, 0, 0)]


def test_grid_of_smaller_cells_has_whole_images() -> None:
    """Given a plan of smaller cells, when the grid is made, then each image fills its own and no other."""
    colours = [(250, 0, 0), (0, 250, 0)]
    sheet = grid([Image.new("RGB", (80, 60), colour) for colour in colours], GridPlan(2, 1, 8, 6))
    assert sheet.size == (16, 6)
    assert [sheet.getpixel((x, 5)) for x in (0, 7, 8, 15)] == [colours[0], colours[0], colours[1], colours[1]]
