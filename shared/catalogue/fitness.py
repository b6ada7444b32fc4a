"""What is known to be a poor choice for a model, in sentences that begin with the field."""

from shared.catalogue.distilled import DISTILLATIONS, USUAL
from shared.catalogue.models import Model
from shared.catalogue.samplers import SAMPLERS

_NO_GUIDANCE = 1.0
# so many times the steps that a distilled model is made for are no refinement any more
_FAR_TOO_MANY = 4
# so many times the pixels: half as much again a side
_FAR_ABOVE = 2.25


def about_sampler(model: Model, sampler: str) -> tuple[str, ...]:
    """What is to be said of the sampler of that name, whatever the steps."""
    entry = SAMPLERS[sampler]
    if not model.distilled:
        if not entry.for_distilled:
            return ()
        return (f"sampler: {sampler} is for distilled models, and {model.called} is none: images may be poor.",)
    steps = model.defaults.steps
    if entry.evaluations_per_step is None:
        why = "chooses its own steps"
    elif entry.enough_steps and entry.enough_steps > USUAL.steps:
        why = f"wants about {entry.enough_steps} steps"
    else:
        return ()
    return (f"sampler: {sampler} {why}, and {model.called} is made for {steps}: images may be poor.",)


def about_steps(model: Model, sampler: str, steps: int) -> tuple[str, ...]:
    """What is to be said of so many steps."""
    if model.distilled:
        enough = DISTILLATIONS[model.distilled].enough_steps or model.defaults.steps
        if steps < enough:
            return (_few_steps(model.called, enough, steps),)
        if steps > _FAR_TOO_MANY * model.defaults.steps:
            wanted = model.defaults.steps
            text = f"ddim_steps: {model.called} is made for {wanted} steps; {steps} take longer"
            return (f"{text} and may be worse.",)
        return ()
    measured = SAMPLERS[sampler].enough_steps
    if measured is None:
        return ()
    # an operator may know that fewer are enough for this model
    wanted = min(measured, model.defaults.steps) if sampler == model.defaults.sampler else measured
    return (_few_steps(f"the sampler {sampler}", wanted, steps),) if steps < wanted else ()


def _few_steps(who: str, wanted: int, steps: int) -> str:
    return f"ddim_steps: {who} wants about {wanted} steps; with {steps} images may be poor."


def about_size(model: Model, width: int, height: int) -> tuple[str, ...]:
    """What is to be said of an image that starts from noise and is drawn in one pass."""
    if width * height <= _FAR_ABOVE * max(model.native_size, model.one_picture_size) ** 2:
        return ()
    native = model.native_size
    return (
        f"W, H: {width}x{height} is far above the {native}x{native} that the model '{model.name}' was trained at, and"
        ' things may be repeated: with "hires": "auto" it is drawn in two passes.',
    )


def about_guidance(model: Model, scale: float) -> tuple[str, ...]:
    """What is to be said of a guidance scale."""
    usual = model.defaults.scale
    if not model.distilled or model.told_guidance or scale in (_NO_GUIDANCE, usual) or 1 < scale < usual:
        return ()
    made_for = "1, no guidance" if usual == _NO_GUIDANCE else f"{usual:g}"
    return (
        f"scale: {model.called} is distilled and made for {made_for}; with {scale:g} images take twice the time and may"
        " be poor.",
    )
