"""The sizes of the two passes of an image, from what a request says and what its model can draw in one."""

import math
from dataclasses import dataclass

from shared.catalogue.models import Model
from shared.request.hires import AUTO, DEFAULT_UPSCALER, OFF, UPSCALERS, AskedHires, Hires
from shared.request.sizes import allowed_side, is_bent, objection_to_size

Asked = AskedHires | str | None
Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True)
class Passes:
    """The `size` of an image, how it is drawn in two passes if it is, and what is to be said about that.

    `one_by_choice`: it is drawn in one pass, and a request that says nothing would be drawn in two.
    """

    size: Size
    hires: Hires | None = None
    warnings: tuple[str, ...] = ()
    one_by_choice: bool = False


def chosen(asked: Asked, model: Model, from_image: bool) -> Asked:
    """What a request asks for where it may say nothing: as its model has it, which does not hold for an input image."""
    if asked is None:
        return AUTO if model.hires and not from_image else OFF
    return asked


def most_side(asked: Asked, model: Model) -> int:
    """Pixels a side of the largest square that W and H may be beside this."""
    is_final = _is_final(asked)
    return model.max_hires_size if is_final else model.largest_square


def most_pixels(asked: Asked, model: Model) -> int:
    """The most pixels of W times H beside this."""
    return model.max_hires_size**2 if _is_final(asked) else model.max_pixels


def _is_final(asked: Asked) -> bool:
    """Whether W and H are those of the image that two passes make."""
    return asked == AUTO or (isinstance(asked, AskedHires) and asked.first_is_said)


def objection(asked: Asked, size: Size, model: Model) -> str | None:
    """Why an image cannot be drawn in the two passes that an object asks for, in a sentence; None where it can.

    `size` is that of the request's W and H.
    """
    if not isinstance(asked, AskedHires):
        return None
    first, final = _sizes(asked, size, model)
    if too_large := objection_to_size(*final, model, model.max_hires_size**2):
        return f"Makes too large an image: {too_large}"
    if too_large := objection_to_size(*first, model, model.max_pixels):
        return f"first_width, first_height: {too_large}"
    if first[0] > final[0] or first[1] > final[1]:
        return f"Makes an image of {final[0]}x{final[1]}, smaller than its first pass of {first[0]}x{first[1]}."
    return None


def planned(asked: Asked, size: Size, steps: int, model: Model) -> Passes:
    """The passes of an image; `size` is that of the request's W and H, `steps` its steps. `asked` is `chosen`."""
    if asked == AUTO and _can_be_two(size, model):
        first = first_size(size, model)
        asked = AskedHires(first_width=first[0], first_height=first[1])
    if not isinstance(asked, AskedHires):
        return Passes(size, one_by_choice=asked == OFF and model.hires and _can_be_two(size, model))
    first, final = _sizes(asked, size, model)
    hires = Hires(
        first_width=first[0],
        first_height=first[1],
        steps=asked.steps or steps,
        strength=asked.strength or _strength(asked.upscaler, model),
        upscaler=asked.upscaler,
    )
    return Passes(final, hires, _about_shape(first, final))


def _strength(upscaler: str, model: Model) -> float:
    """The usual one; what a network leaves is as sharp as what the default upscaler does."""
    known = upscaler if upscaler in UPSCALERS else DEFAULT_UPSCALER
    if known == DEFAULT_UPSCALER and model.hires_strength:
        return model.hires_strength
    return UPSCALERS[known].strength


def _can_be_two(size: Size, model: Model) -> bool:
    """Whether one pass would repeat itself, and two do not bend a narrow strip."""
    first = first_size(size, model)
    return not model.is_one_picture(*size) and model.is_one_picture(*first) and not is_bent(first, size)


def _sizes(asked: AskedHires, size: Size, model: Model) -> tuple[Size, Size]:
    """Those of the first pass and of the image, multiples of the family's `size_step`."""
    step = model.facts.size_step

    def allowed(width: float, height: float) -> Size:
        # beyond any side that is drawn an objection is worth more than the number
        return allowed_side(width, step, 1 << 20), allowed_side(height, step, 1 << 20)

    if asked.first_width and asked.first_height:
        return allowed(asked.first_width, asked.first_height), size
    if asked.width and asked.height:
        return size, allowed(asked.width, asked.height)
    scale = asked.scale or 1.0
    return size, allowed(size[0] * scale, size[1] * scale)


def first_size(size: Size, model: Model) -> Size:
    """Of the first pass of an image that is no one picture: its shape, with the pixels that the model was trained with.

    Among sizes that are near to that one, the one whose shape is nearest.
    """
    width, height = size
    step = model.facts.size_step
    shrink = min(model.native_size / math.sqrt(width * height), model.longest_picture / max(size))

    def apart(first: Size) -> float:
        shape = abs(math.log(first[0] / first[1] / (width / height)))
        return shape + 0.1 * abs(math.log(first[0] * first[1] / (width * height * shrink**2)))

    near = [width * shrink + change * step for change in range(-2, 3)]
    sizes = [(allowed_side(side, step, width), allowed_side(side * height / width, step, height)) for side in near]
    return min([first for first in sizes if model.is_one_picture(*first)] or sizes, key=apart)


def _about_shape(first: Size, final: Size) -> tuple[str, ...]:
    if not is_bent(first, final):
        return ()
    return (f"hires: at {final[0]}x{final[1]} the shape of the first pass, {first[0]}x{first[1]}, is not kept.",)
