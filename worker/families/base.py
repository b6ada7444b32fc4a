"""The questions a model family answers, and the text conditioning that the families with one CLIP encoder share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from shared.errors import TooCostly
from shared.request.cost import MAX_CHUNKS, too_many_chunks
from shared.request.prompts import parse_prompt
from worker.models.checkpoint import Checkpoint
from worker.text.chunks import Chunk, chunks

# an encoding of SD 1.5 is 236 KiB
_ENCODINGS_KEPT = 128


@dataclass(frozen=True)
class Conditioning:
    """What the UNet is told, each `(1, 77 * chunks, D)` and of equal length: what to draw, and what to avoid.

    `warnings` are sentences about how the texts were read.
    """

    positive: torch.Tensor
    negative: torch.Tensor
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class OriginalText:
    """How a single-file checkpoint of the original layout keeps the text encoder.

    The names of its weights begin with `prefix`; `convert` gives them the names of transformers' `CLIPTextModel`, of
    layers that are used alone.
    """

    prefix: str
    convert: Callable[[Mapping[str, torch.Tensor]], Mapping[str, torch.Tensor]]


@dataclass(frozen=True)
class Family:
    """What is asked of a family; the noise schedule and the prediction type are a checkpoint's own.

    `encode(checkpoint, prompt, negative_prompt)` gives the conditioning, on the checkpoint's device.

    `to_latents(vae, pixels, generator)` takes `(1, 3, H, W)` in -1..1 to scaled latents `(1, 4, H/8, W/8)`;
    `to_pixels(vae, latents)` is its inverse.
    """

    encode: Callable[[Checkpoint, str, str], Conditioning]
    to_latents: Callable[[Any, torch.Tensor, torch.Generator], torch.Tensor]
    to_pixels: Callable[[Any, torch.Tensor], torch.Tensor]
    text: OriginalText


def to_latents(vae: Any, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw from the encoder's posterior, as the stock image-to-image pipeline does."""
    posterior = vae.encode(pixels).latent_dist
    scaled: torch.Tensor = vae.config.scaling_factor * posterior.sample(generator)
    return scaled


def to_pixels(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Decode scaled latents; the values may leave -1..1 a little."""
    pixels: torch.Tensor = vae.decode(latents / vae.config.scaling_factor, return_dict=False)[0]
    return pixels


def encode_with_clip(checkpoint: Checkpoint, prompt: str, negative_prompt: str) -> Conditioning:
    """Emphasis, chunks and weighted sub-prompts through one CLIP text encoder; both sides padded to as many chunks.

    Raises TooCostly, before anything is encoded, where a side takes more than MAX_CHUNKS chunks.
    """
    texts = {"prompt": prompt, "negative_prompt": negative_prompt}
    sides = {field: _tokenized(checkpoint, text) for field, text in texts.items()}
    for field, side in sides.items():
        if (count := sum(len(part) for _, part in side)) > MAX_CHUNKS:
            raise TooCostly(f"The text of {field} is too long: {too_many_chunks(str(count))}")
    longest = max(len(part) for side in sides.values() for _, part in side)
    with checkpoint.in_use(checkpoint.text_encoder):
        positive, negative = (_blended(checkpoint, side, longest) for side in sides.values())
    said = [f"{field}: {remark}" for field, text in texts.items() for remark in parse_prompt(text).remarks]
    return Conditioning(positive, negative, tuple(said))


_Side = list[tuple[float, list[Chunk]]]


def _tokenized(checkpoint: Checkpoint, text: str) -> _Side:
    def tokenize(piece: str) -> list[int]:
        # JSON can spell half of a surrogate pair, tokenizers cannot read it
        readable = piece.encode("utf-8", "replace").decode("utf-8")
        # verbose off: a long text is no mistake here, it goes on in the next chunk
        ids: list[int] = checkpoint.tokenizer(readable, add_special_tokens=False, verbose=False).input_ids
        return ids

    return [(part.share, chunks(part.fragments, tokenize)) for part in parse_prompt(text).parts]


def _blended(checkpoint: Checkpoint, side: _Side, length: int) -> torch.Tensor:
    """`sum(share * encoding)` over the sub-prompts, each padded with empty chunks to `length`.

    Summed as they come, so that it takes the memory of a few of them, however many there are.
    """
    total: torch.Tensor | None = None
    for share, part in side:
        padded = [*part, *[Chunk((), ())] * (length - len(part))]
        encoded = torch.cat([_encode_chunk(checkpoint, chunk) for chunk in padded], dim=1)
        if len(side) == 1:
            return encoded
        weighted = encoded * share
        total = weighted if total is None else total.add_(weighted)
    assert total is not None  # noqa: S101 - tells mypy that a prompt has at least one part
    return total


def _encode_chunk(checkpoint: Checkpoint, chunk: Chunk) -> torch.Tensor:
    """A chunk's encoding, `(1, 77, D)`, out of the checkpoint's memory where it was made before."""
    known = checkpoint.encodings
    if chunk not in known:
        known[chunk] = _encode_new_chunk(checkpoint, chunk)
        if len(known) > _ENCODINGS_KEPT:
            known.popitem(last=False)
    known.move_to_end(chunk)
    return known[chunk]


def _encode_new_chunk(checkpoint: Checkpoint, chunk: Chunk) -> torch.Tensor:
    """One chunk between its begin and end marks, `(1, 77, D)`; one at a time, so that a long neighbour changes nothing.

    Weights multiply the encoding of their token; then its mean over the chunk is restored, as the A1111 web UI does.
    """
    tokenizer, encoder = checkpoint.tokenizer, checkpoint.text_encoder
    room = tokenizer.model_max_length
    ids = [tokenizer.bos_token_id, *chunk.ids, tokenizer.eos_token_id]
    mask = [1] * len(ids) + [0] * (room - len(ids))
    ids += [tokenizer.pad_token_id] * (room - len(ids))
    tokens = torch.tensor([ids], device=checkpoint.device.name)
    attention = torch.tensor([mask], device=tokens.device) if _uses_mask(encoder) else None
    encoding: torch.Tensor = encoder(tokens, attention_mask=attention)[0]
    if all(weight == 1.0 for weight in chunk.weights):
        return encoding
    weights = torch.ones(room, dtype=encoding.dtype, device=encoding.device)
    weights[1 : 1 + len(chunk.ids)] = torch.tensor(chunk.weights, dtype=encoding.dtype)
    weighted = encoding * weights[None, :, None]
    before, after = encoding.mean(), weighted.mean()
    # a mean of nearly nothing would turn the restoration into an explosion
    return weighted * (before / after) if after.abs() > 1e-6 else weighted


def _uses_mask(encoder: torch.nn.Module) -> bool:
    return bool(getattr(encoder.config, "use_attention_mask", False))
