"""What the denoiser is told of the prompts of a request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.request.sampling import SamplingParams
from worker.adapters.lora_set import LoraSet
from worker.engine.guidance import NO_GUIDANCE
from worker.engine.request import Ticket
from worker.families import Family
from worker.models.checkpoint import Checkpoint
from worker.text.conditioning import TEXT, ConditioningInputs, NamedTensors
from worker.text.embeddings import EmbeddingsIn


@dataclass(frozen=True, eq=False)
class Told:
    """The conditioning of each batch item of a request, its text projected, and what is to be said about it.

    `plain` is the same with the text as it was encoded, which is what ControlNets read. `embeddings` are those that
    the prompts name, with the SHA-256 of their files.
    """

    items: Sequence[NamedTensors]
    plain: Sequence[NamedTensors]
    warnings: Sequence[str]
    embeddings: Mapping[str, str]


def tells_guidance(checkpoint: Checkpoint) -> bool:
    """Whether the denoiser takes the scale as an input, and guides by itself."""
    return checkpoint.guidance_width is not None


def is_guided(params: SamplingParams, checkpoint: Checkpoint) -> bool:
    """Whether any evaluation is guided."""
    return params.guidance_scale != NO_GUIDANCE and params.guidance_until > 0 and not tells_guidance(checkpoint)


def told_of(
    ticket: Ticket,
    params: SamplingParams,
    checkpoint: Checkpoint,
    family: Family,
    loras: LoraSet,
    embeddings_in: EmbeddingsIn,
) -> Told:
    """What the denoiser is told of this request; one for all requests under way of which the same is told.

    The images of a task have the same, and projected it is large: 64 copies would take gigabytes.
    """
    guided = is_guided(params, checkpoint)
    prompt = ticket.request.prompt
    # unused, it must not even lengthen the other side
    negative_prompt = params.negative_prompt if guided else ""
    inputs = ConditioningInputs(
        prompt=prompt,
        negative_prompt=negative_prompt,
        width=params.width,
        height=params.height,
        guidance_scale=params.guidance_scale if guided or tells_guidance(checkpoint) else NO_GUIDANCE,
        clip_skip=params.clip_skip,
        original_size=params.original_size,
        crops_coords_top_left=params.crops_coords_top_left,
        target_size=params.target_size,
        embeddings=embeddings_in((prompt, negative_prompt)),
        adapters=tuple(lora.key for lora in ticket.loras),
    )
    told: Told | None = checkpoint.conditionings.get(inputs)
    if told is None:
        with loras.encoding(checkpoint):
            made = family.encode(checkpoint, inputs)
        sides = (made.negative, made.positive) if guided else (made.positive,)
        with loras.projecting(checkpoint):
            items = tuple({**_projected(side, checkpoint), **loras.items} for side in sides)
        told = checkpoint.conditionings[inputs] = Told(items, sides, made.warnings, made.embeddings)
    return told


def _projected(side: NamedTensors, checkpoint: Checkpoint) -> NamedTensors:
    return {name: checkpoint.project_text(tensor) if name == TEXT else tensor for name, tensor in side.items()}
