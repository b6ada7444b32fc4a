"""Texts through one CLIP text encoder, with emphasis, chunks and weighted sub-prompts."""

import torch

from shared.errors import TooCostly
from shared.request.cost import MAX_CHUNKS, too_many_chunks
from shared.request.prompts import parse_prompt
from worker.models.checkpoint import Checkpoint
from worker.text.chunks import Chunk, chunks
from worker.text.conditioning import TEXT, Conditioning, ConditioningInputs

# an encoding of SD 1.5 is 236 KiB
_ENCODINGS_KEPT = 128
_ENCODER, _TOKENIZER = "text_encoder", "tokenizer"


def encode_with_clip(checkpoint: Checkpoint, inputs: ConditioningInputs) -> Conditioning:
    """The last hidden states as `TEXT`, `(1, 77 * chunks, D)`; both sides padded to as many chunks.

    Raises TooCostly, before anything is encoded, where a side takes more than MAX_CHUNKS chunks.
    """
    texts = {"prompt": inputs.prompt, "negative_prompt": inputs.negative_prompt}
    sides = {field: _tokenized(checkpoint, text) for field, text in texts.items()}
    for field, side in sides.items():
        if (count := sum(len(part) for _, part in side)) > MAX_CHUNKS:
            raise TooCostly(f"The text of {field} is too long: {too_many_chunks(str(count))}")
    longest = max(len(part) for side in sides.values() for _, part in side)
    with checkpoint.in_use(checkpoint.parts.text_encoders[_ENCODER]):
        positive, negative = (
            {TEXT: _blended(checkpoint, side, longest).to(checkpoint.denoiser_dtype)} for side in sides.values()
        )
    said = [f"{field}: {remark}" for field, text in texts.items() for remark in parse_prompt(text).remarks]
    return Conditioning(positive, negative, tuple(said))


_Side = list[tuple[float, list[Chunk]]]


def _tokenized(checkpoint: Checkpoint, text: str) -> _Side:
    tokenizer = checkpoint.parts.tokenizers[_TOKENIZER]

    def tokenize(piece: str) -> list[int]:
        # JSON can spell half of a surrogate pair, tokenizers cannot read it
        readable = piece.encode("utf-8", "replace").decode("utf-8")
        # verbose off: a long text is no mistake here, it goes on in the next chunk
        ids: list[int] = tokenizer(readable, add_special_tokens=False, verbose=False).input_ids
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
    known, key = checkpoint.encodings, (_ENCODER, chunk)
    if key not in known:
        known[key] = _encode_new_chunk(checkpoint, chunk)
        if len(known) > _ENCODINGS_KEPT:
            known.popitem(last=False)
    known.move_to_end(key)
    return known[key]


def _encode_new_chunk(checkpoint: Checkpoint, chunk: Chunk) -> torch.Tensor:
    """One chunk between its begin and end marks, `(1, 77, D)`; one at a time, so that a long neighbour changes nothing.

    Weights multiply the encoding of their token; then its mean over the chunk is restored, as the A1111 web UI does.
    """
    tokenizer, encoder = checkpoint.parts.tokenizers[_TOKENIZER], checkpoint.parts.text_encoders[_ENCODER]
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
