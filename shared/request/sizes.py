"""The sizes of images in pixels: which one is drawn, and how large the file of an image or of a grid may become."""

import math
from dataclasses import dataclass

from shared.catalogue.models import Model
from shared.request.model import ImageRequest

MIN_SIZE = 64
#: The longest side that a format can hold: of libjpeg, libwebp and PNG (RFC 2083, 11.2.1).
LONGEST_SIDES = {"jpg": 65_500, "webp": 16_383, "png": 2**31 - 1}
#: Of an image of which a part is drawn anew: a worker keeps it beside several others.
MAX_WHOLE_PIXELS = 4096 * 4096
#: Of one file, for a worker holds it in memory: 192 MiB of RGB.
MAX_OUTPUT_PIXELS = 8192 * 8192
# a difference in the shape that somebody may see
_BENT = 0.04


def native_size(width: int | None, height: int | None, model: Model) -> tuple[int, int]:
    """(width, height) of text to image: what was asked for, the model's native size where nothing was."""
    return width or model.usual_size, height or model.usual_size


def objection_to_size(width: int, height: int, model: Model, most: int) -> str | None:
    """Why an image of more than `most` pixels is not drawn, in a sentence with the remedy; None where it has fewer."""
    if width * height <= most:
        return None
    side = math.isqrt(most)
    return (
        f"{width}x{height} are more pixels than model '{model.name}' draws here, {most} at most, as in {side}x{side}: "
        "ask for fewer, and with output_width and output_height for a larger image made of them."
    )


def size_from_input(
    width: int | None, height: int | None, enlarged: tuple[int, int], model: Model
) -> tuple[int, int, tuple[str, ...]]:
    """(width, height) of image to image, and what is to be said about it.

    A side that was not asked for follows from the other one and the shape of the input; without any, both follow from
    `enlarged`, the size of the input times `upscale`. They are multiples of the family's `size_step`, and no
    longer than those of the model's largest square.
    """
    if width and height:
        return width, height, ()
    shape = enlarged[0] / enlarged[1]
    step, longest = model.facts.size_step, model.largest_square
    if given := width or height:
        longest = min(longest, model.max_pixels // given // step * step)
    if width:
        result = (width, allowed_side(width / shape, step, longest))
    elif height:
        result = (allowed_side(height * shape, step, longest), height)
    else:
        shrink = min(1.0, longest / max(enlarged))
        result = (allowed_side(enlarged[0] * shrink, step, longest), allowed_side(enlarged[1] * shrink, step, longest))
    size, warnings = f"{result[0]}x{result[1]}", []
    if not width and not height and max(enlarged) > longest:
        what = f"{enlarged[0]}x{enlarged[1]}"
        warnings.append(
            f"W, H: the image is {size}, not {what}: a side that you do not ask for has at most {longest} of model "
            f"'{model.name}'."
        )
    if is_bent(result, enlarged):
        warnings.append(f"W, H: at {size} the shape of the input is not kept.")
    return *result, tuple(warnings)


def size_into_whole(whole: tuple[int, int], model: Model) -> tuple[int, int, tuple[str, ...]]:
    """(width, height) at which an image is drawn of which a part is put back into it, and what is to be said about it.

    At least that of the image, as far as the model's limits allow.
    """
    step = model.facts.size_step
    up = (-(-whole[0] // step) * step, -(-whole[1] // step) * step)
    width, height, _ = size_from_input(None, None, up, model)
    if width >= whole[0] and height >= whole[1]:
        return width, height, ()
    return width, height, (
        f"W, H: what is drawn anew is drawn at {width}x{height} and enlarged to {whole[0]}x{whole[1]}: a side has at "
        f"most {model.largest_square} of model '{model.name}'. With only_masked it is drawn larger.",
    )  # fmt: skip


def size_for_output(output: tuple[int, int], model: Model, most: int | None = None) -> tuple[int, int]:
    """(width, height) of the images that are resized to `output`: the largest of the same shape that the model draws.

    No larger than `output`, but for a multiple of the family's `size_step` and the smallest size that is drawn. `most`
    is the longest side that is drawn, None for that of the largest square.
    """
    step = model.facts.size_step
    longest = (most or model.largest_square) // step * step
    shrink = min(1.0, longest / max(output))
    return allowed_side(output[0] * shrink, step, longest), allowed_side(output[1] * shrink, step, longest)


def output_warnings(
    drawn: tuple[int, int],
    output: tuple[int, int],
    image: tuple[int, int] | None,
    model: Model,
    most: int | None = None,
) -> tuple[str, ...]:
    """What is to be said where the size `drawn` was chosen for `output`, with sides of `most` pixels at most.

    `image` is the size of an input image.
    """
    said = []
    if drawn != output:
        step = model.facts.size_step
        said.append(
            f"output_width, output_height: the image is generated at {drawn[0]}x{drawn[1]} and resized to "
            f"{output[0]}x{output[1]}, for a side is then a multiple of {step} from {MIN_SIZE} to "
            f"{most or model.largest_square} of model '{model.name}'."
        )
    if is_bent(drawn, output) or (image and is_bent(drawn, image)):
        what = "the input" if image and is_bent(drawn, image) else f"{output[0]}x{output[1]}"
        said.append(f"output_width, output_height: at {drawn[0]}x{drawn[1]} the shape of {what} is not kept.")
    return tuple(said)


def is_bent(size: tuple[int, int], shape: tuple[int, int]) -> bool:
    """Whether somebody may see that a size is not of a shape; both are (width, height)."""
    return abs(math.log(size[0] / size[1] / (shape[0] / shape[1]))) > _BENT


def allowed_side(side: float, step: int, longest: int) -> int:
    """The nearest multiple of `step` within the limits; halves go up."""
    return min(longest, max(MIN_SIZE, math.floor(side / step + 0.5) * step))


def objection_to_result(request: ImageRequest) -> str | None:
    """Why an image of this request could not be stored, in a sentence for `resizing_fields`; None when it could."""
    width, height = request.result_size
    longest = LONGEST_SIDES[request.format]
    if max(width, height) > longest:
        return (
            f"Makes an image of {width}x{height} pixels; in the format {request.format} a side has at most {longest}."
        )
    if width * height > MAX_OUTPUT_PIXELS:
        return f"Makes an image of {width}x{height} pixels; at most {MAX_OUTPUT_PIXELS} in all can be made."
    return None


def resizing_fields(request: ImageRequest) -> list[str]:
    """The fields, by their names on the wire, that make the delivered images larger than what is generated."""
    if request.output_width:
        return ["output_width", "output_height"]
    return ["post_upscale"] if request.post_upscale > 1 else []


@dataclass(frozen=True)
class GridPlan:
    """A grid: `columns` cells a row, `rows` rows, and the size of a cell in pixels."""

    columns: int
    rows: int
    cell_width: int
    cell_height: int

    @property
    def size(self) -> tuple[int, int]:
        return self.columns * self.cell_width, self.rows * self.cell_height


def plan_grid(request: ImageRequest) -> GridPlan:
    """The grid of all images of a request: at their full size where the format and the memory allow, else smaller."""
    return plan_cells(request.image_count, request.grid_columns, request.result_size, request.format)


def plan_cells(images: int, columns: int, size: tuple[int, int], format: str) -> GridPlan:
    """The grid of so many images of one size, (width, height) in pixels, with at most `columns` in a row."""
    columns = min(columns, images)
    rows = math.ceil(images / columns)
    width, height = size
    longest = LONGEST_SIDES[format]
    scale = min(
        1.0, longest / (columns * width), longest / (rows * height),
        math.sqrt(MAX_OUTPUT_PIXELS / (columns * width * rows * height)),
    )  # fmt: skip
    return GridPlan(columns, rows, max(1, int(width * scale)), max(1, int(height * scale)))


def grid_warnings(request: ImageRequest) -> tuple[str, ...]:
    """What is to be said about the grid of a request before it is made."""
    plan = plan_grid(request)
    if request.skip_grid or (plan.cell_width, plan.cell_height) == request.result_size:
        return ()
    full = "{}x{}".format(*request.result_size)
    return (
        f"skip_grid: the images of the grid are {plan.cell_width}x{plan.cell_height}, not {full}, because "
        f"{plan.columns}x{plan.rows} of these are more than a file of the format {request.format} can hold here.",
    )
