"""What a request costs, the one rule for it: what one job may ask for, and how the work is shared among keys.

The unit is a pixel step: one step of one pixel of an image. `docs/limits.md` lists every limit on a request.
"""

import math
import re
import unicodedata
from collections.abc import Iterable

from shared.request.model import ImageRequest
from shared.request.prompts import Fragment, ParsedPrompt, parse_prompt
from shared.request.sampling import SamplingParams

CHUNK_TOKENS = 75
"""How many tokens of a prompt are encoded at once."""
MAX_CHUNKS = 32
"""Most chunks of a prompt, and of a negative prompt, all its sub-prompts together: about 2,400 tokens."""

# what CLIP's tokenizer cuts a text into; it merges bytes within such a piece only, and has no longer tokens than
# these; where a text names a token, marks before it end there
_PIECE = re.compile(
    r"(<\|startoftext\|>|<\|endoftext\|>|'(?:s|t|re|ve|m|ll|d)|\d)|([^\W\d_]++)"
    r"|(?:(?!<\|(?:start|end)oftext\|>)(?:[^\s\w]|_))++",
    re.IGNORECASE,
)
_LONGEST_WORD_TOKEN, _LONGEST_MARK_TOKEN = 24, 32  # bytes

# encoding a chunk takes about as much as a step of 45 x 45 pixels: of SD 1.5 both are some 6 billion multiplications
_PIXEL_STEPS_A_CHUNK = 2048
# an ESRGAN has 16.7 million weights, and uses nearly each for every pixel; SD 1.5 makes 1.5 million multiplications
# for a pixel's step
_PIXEL_STEPS_AN_UPSCALED_PIXEL = 24
# a ControlNet is the first half of the denoiser, the smaller one: of SD 1.5 it makes 0.36 times the multiplications
_SHARE_OF_A_CONTROLNET = 0.4
# a step with this many chunks more takes twice as long: measured with 10,000 emoji at 512x512
_CHUNKS_AS_LONG_AS_A_STEP = 16


def least_chunks(prompt: ParsedPrompt) -> list[int]:
    """For each sub-prompt at least how many chunks its text fills, by whatever tokenizer of CLIP's kind."""
    return [_least_chunks(part.fragments) for part in prompt.parts]


def _least_chunks(fragments: Iterable[Fragment]) -> int:
    closed = tokens = 0
    for fragment in fragments:
        if fragment.starts_chunk:
            closed += max(1, -(-tokens // CHUNK_TOKENS))
            tokens = 0
        tokens += least_tokens(fragment.text)
    return max(1, closed + -(-tokens // CHUNK_TOKENS))


def least_tokens(text: str) -> int:
    """At least how many tokens the text has."""
    count = 0
    for piece in _PIECE.finditer(unicodedata.normalize("NFC", text).lower()):
        longest = _LONGEST_WORD_TOKEN if piece[2] else _LONGEST_MARK_TOKEN
        count += 1 if piece[1] else -(-len(piece[0].encode("utf-8", "replace")) // longest)
    return count


def objection_to_text(text: str) -> str | None:
    """Why the text cannot be encoded, as a sentence for the client; None where it can, as far as one sees here."""
    chunks = sum(least_chunks(parse_prompt(text)))
    return None if chunks <= MAX_CHUNKS else too_many_chunks(f"at least {chunks}")


def too_many_chunks(count: str) -> str:
    return (
        f"Takes {count} chunks of {CHUNK_TOKENS} tokens, all sub-prompts together, and may take {MAX_CHUNKS}: "
        "shorten it."
    )


def text_cost(request: ImageRequest) -> int:
    """Pixel steps that the job's texts add: chunks beyond the first of each side are encoded once a task, and
    lengthen every step."""
    params = request.params
    guided = params.guidance_scale != 1 and params.guidance_until > 0
    negative = least_chunks(parse_prompt(params.negative_prompt)) if guided else [1]
    drawing = drawing_cost(params) * request.n_samples
    total = 0
    for text in request.prompts:
        positive = least_chunks(parse_prompt(text))
        encoded = sum(positive) + sum(negative) - 2
        longer = max(*positive, *negative) - 1
        total += encoded * _PIXEL_STEPS_A_CHUNK + drawing * longer // _CHUNKS_AS_LONG_AS_A_STEP
    return total * request.n_iter


def drawing_cost(params: SamplingParams) -> int:
    """Pixel steps of drawing one image: those of its pass, or of both passes."""
    image = params.width * params.height
    if params.hires is None:
        return params.steps * image
    first = params.hires.first_width * params.hires.first_height
    return params.steps * first + params.hires.steps_of_second * image


def enlargement_cost(request: ImageRequest) -> int:
    """Pixel steps that images add beside their steps: reading the input once a task, enlarging every result."""
    width, height = request.result_size
    added = max(0, width * height - request.params.width * request.params.height)
    return request.tasks * request.input_pixels + request.image_count * added


def upscaling_cost(request: ImageRequest) -> int:
    """Pixel steps that networks take to enlarge: each looks at every pixel that it is given, whatever the factor."""
    pixels, hires = 0, request.params.hires
    if hires and hires.network:
        pixels += hires.first_width * hires.first_height
    if request.delivering_network:
        pixels += math.prod(request.drawn_size)
    return _PIXEL_STEPS_AN_UPSCALED_PIXEL * pixels * request.image_count


def job_cost(request: ImageRequest) -> int:
    """Pixel steps of the whole job: steps x pixels x images, and what its texts and enlargement add."""
    drawing = drawing_cost(request.params) * request.image_count
    drawing += int(drawing * _SHARE_OF_A_CONTROLNET * sum(each.end - each.start for each in request.params.controlnet))
    return drawing + request.text_cost + enlargement_cost(request) + upscaling_cost(request)


def task_cost(request: ImageRequest) -> float:
    """What one task takes of a device, in millions of pixel steps; guidance asks the model twice a step."""
    params = request.params
    passes = 1 if params.guidance_scale == 1 else 1 + params.guidance_until
    return passes * job_cost(request) / request.tasks / 1e6
