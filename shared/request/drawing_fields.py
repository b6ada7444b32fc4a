"""The fields of how an image is drawn: the texts, the steps, guidance and the sampler."""

from marshmallow import Schema
from marshmallow.validate import OneOf, Range

from shared.catalogue.distilled import USUAL
from shared.catalogue.models import MOST_SCALE, MOST_STEPS
from shared.catalogue.samplers import wire_names
from shared.catalogue.schedules import schedule_names
from shared.request.fields import Number, Text, WholeNumber


def _about(description: str) -> dict[str, str]:
    return {"description": description}


class DrawingFields(Schema):
    """What is drawn, and how."""

    prompt = Text(
        load_default=None,
        metadata=_about(
            "What to draw. `(x)` weighs x 1.1 times, `[x]` 1/1.1, `(x:1.3)` 1.3 times; `a cat:0.25 a duck:0.75` blends "
            r"sub-prompts; `\:` is a plain colon. Required unless from-file is given."
        ),
    )
    negative_prompt = Text(load_default="", metadata=_about("What to keep away from; same notation as prompt."))
    # with as many steps as a model has timesteps, the schedules of some samplers end beyond the last one
    steps = WholeNumber(
        data_key="ddim_steps", load_default=USUAL.steps, validate=Range(1, MOST_STEPS),
        metadata=_about("Denoising steps. A distilled model has a default of its own; see GET /models."),
    )  # fmt: skip
    guidance_scale = Number(
        data_key="scale", load_default=USUAL.scale, validate=Range(-MOST_SCALE, MOST_SCALE),
        metadata=_about(
            "Guidance scale; 1 means no guidance, negative values lead away from the prompt. A distilled model has a "
            "default of its own, mostly 1; there 0 is taken for 1."
        ),
    )  # fmt: skip
    guidance_rescale = Number(
        load_default=0.0, validate=Range(0, 1),
        metadata=_about(
            "How far strong guidance is kept from widening the range of the colours; 0 is off, 0.7 is usual for models "
            "with zero terminal SNR."
        ),
    )  # fmt: skip
    guidance_until = Number(
        load_default=1.0, validate=Range(0, 1),
        metadata=_about("Share of the steps with guidance, from the first on; the others take half the time. 1: all."),
    )  # fmt: skip
    clip_skip = WholeNumber(
        load_default=1, validate=Range(1, 12),
        metadata=_about(
            "Which layer of the text encoder is used, as the A1111 web UI counts: 1 is the one that the model was made "
            "for, 2 the one before it."
        ),
    )  # fmt: skip
    eta = Number(
        data_key="ddim_eta", load_default=0.0, validate=Range(0, 1),
        metadata=_about("Share of fresh noise in each step of the samplers ddim and tcd."),
    )  # fmt: skip
    sampler = Text(
        load_default=USUAL.sampler, validate=OneOf(wire_names()),
        metadata=_about("Sampler; see GET /samplers. A model may have a default of its own; see GET /models."),
    )  # fmt: skip
    schedule = Text(
        load_default=USUAL.schedule, validate=OneOf(schedule_names()),
        metadata=_about(
            "At which noise levels the model is asked, where the sampler can; automatic: the sampler's own."
        ),
    )  # fmt: skip
