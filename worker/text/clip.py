"""Texts through the CLIP text encoders of a model, with emphasis, chunks and weighted sub-prompts.

BERT of latent diffusion is taken for one of them: a text of up to 75 tokens between two marks, padded to 77.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from shared.errors import InvalidRequest, TooCostly
from shared.request.cost import MAX_CHUNKS, too_many_chunks
from shared.request.prompts import parse_prompt
from worker.hardware.devices import Device
from worker.models.checkpoint import Checkpoint
from worker.text.chunks import Chunk, chunks
from worker.text.conditioning import TEXT, Conditioning, ConditioningInputs
from worker.text.embeddings import Embedding
from worker.text.fitting import fitting

# an encoding of SD 1.5 is 236 KiB
_ENCODINGS_KEPT = 128

Encoding = tuple[torch.Tensor, ...]
"""Hidden states `(1, 77 * chunks, D)`; of a CLIP with a projection then the pooled text `(1, P)` of the first chunk."""


@dataclass(frozen=True)
class Clip:
    """One CLIP of a model, by the folders of its two parts. `layer` is the one whose hidden states are used: None for
    the last one's, normalised; -2 for those that go into it. `skipped` is how many layers earlier than that."""

    encoder: str = "text_encoder"
    tokenizer: str = "tokenizer"
    layer: int | None = None
    skipped: int = 0

    @property
    def place(self) -> int:
        """Where its hidden states are among those of all layers, from the end."""
        return (self.layer or -1) - self.skipped


ONLY = Clip()
"""That of a model with one."""


def encode_with_clip(checkpoint: Checkpoint, inputs: ConditioningInputs, clip: Clip = ONLY) -> Conditioning:
    """The last hidden states of the only CLIP as `TEXT`, `(1, 77 * chunks, D)`; see `encode_texts`."""
    texts = {"prompt": inputs.prompt, "negative_prompt": inputs.negative_prompt}
    fits = fitting(checkpoint, [clip.encoder], inputs.embeddings)
    encoded = encode_texts(checkpoint, texts, (clip,), inputs.clip_skip, fits.embeddings)
    positive, negative = ({TEXT: encoded[field][0][0].to(checkpoint.denoiser_dtype)} for field in texts)
    return Conditioning(positive, negative, (*remarks(texts), *fits.remarks), fits.hashes)


def encode_texts(
    checkpoint: Checkpoint,
    texts: Mapping[str, str],
    clips: Sequence[Clip],
    clip_skip: int,
    embeddings: Sequence[Embedding] = (),
) -> Mapping[str, Sequence[Encoding]]:
    """For each field of a request what each CLIP makes of its text, all padded to as many chunks. `embeddings` stand in
    for their names; each has vectors for every one of `clips`.

    Raises, before anything is encoded, TooCostly where a text takes more than MAX_CHUNKS chunks, and InvalidRequest
    where a CLIP has not so many layers as are to be skipped.
    """
    clips = [_skipping(checkpoint, clip, clip_skip) for clip in clips]
    sides = {
        (clip, field): tokenized(checkpoint, clip, text, embeddings) for clip in clips for field, text in texts.items()
    }
    for (_, field), side in sides.items():
        if (count := sum(len(part) for _, part in side)) > MAX_CHUNKS:
            raise TooCostly(f"The text of {field} is too long: {too_many_chunks(str(count))}")
    longest = max(len(part) for side in sides.values() for _, part in side)
    encoded: dict[str, list[Encoding]] = {field: [] for field in texts}
    for clip in clips:
        with checkpoint.in_use(checkpoint.parts.text_encoders[clip.encoder]):
            for field in texts:
                encoded[field].append(_blended(checkpoint, clip, sides[clip, field], longest))
    return encoded


def _skipping(checkpoint: Checkpoint, clip: Clip, clip_skip: int) -> Clip:
    """As the A1111 web UI counts: 1 is the layer that the model was made for, 2 the one before it."""
    skipping = replace(clip, skipped=clip_skip - 1)
    beyond = -skipping.place - checkpoint.parts.text_encoders[clip.encoder].config.num_hidden_layers
    if clip_skip > 1 and beyond > 0:
        text = f"Must be at most {clip_skip - beyond} for the model '{checkpoint.model.name}'."
        raise InvalidRequest("The model's text encoder has not so many layers.", {"clip_skip": [text]})
    return skipping


def remarks(texts: Mapping[str, str]) -> tuple[str, ...]:
    """What is to be said about how the texts of the fields were read."""
    return tuple(f"{field}: {remark}" for field, text in texts.items() for remark in parse_prompt(text).remarks)


_Side = list[tuple[float, list[Chunk]]]


def tokenized(checkpoint: Checkpoint, clip: Clip, text: str, embeddings: Sequence[Embedding] = ()) -> _Side:
    """The sub-prompts of a text, each with its share and its chunks."""
    tokenizer = checkpoint.parts.tokenizers[clip.tokenizer]

    def tokenize(piece: str) -> list[int]:
        # JSON can spell half of a surrogate pair, tokenizers cannot read it
        readable = piece.encode("utf-8", "replace").decode("utf-8")
        # verbose off: a long text is no mistake here, it goes on in the next chunk
        ids: list[int] = tokenizer(readable, add_special_tokens=False, verbose=False).input_ids
        return ids

    return [(part.share, chunks(part.fragments, tokenize, embeddings)) for part in parse_prompt(text).parts]


def _blended(checkpoint: Checkpoint, clip: Clip, side: _Side, length: int) -> Encoding:
    """`sum(share * encoding)` over the sub-prompts, each padded with empty chunks to `length`.

    Summed as they come, so that it takes the memory of a few of them, however many there are.
    """
    total: Encoding = ()
    for share, part in side:
        padded = [*part, *[Chunk((), ())] * (length - len(part))]
        encoded = [_encode_chunk(checkpoint, clip, chunk) for chunk in padded]
        whole = torch.cat([hidden for hidden, *_ in encoded], dim=1), *encoded[0][1:]
        if len(side) == 1:
            return whole
        weighted = tuple(each * share for each in whole)
        total = tuple(so_far.add_(each) for so_far, each in zip(total, weighted, strict=True)) if total else weighted
    return total


def _encode_chunk(checkpoint: Checkpoint, clip: Clip, chunk: Chunk) -> Encoding:
    """A chunk's encoding, out of the checkpoint's memory where it was made before."""
    known, key = checkpoint.encodings, (clip, chunk, checkpoint.encoded_for)
    if key not in known:
        known[key] = _encode_new_chunk(checkpoint, clip, chunk)
        if len(known) > _ENCODINGS_KEPT:
            known.popitem(last=False)
    known.move_to_end(key)
    return known[key]


def _encode_new_chunk(checkpoint: Checkpoint, clip: Clip, chunk: Chunk) -> Encoding:
    """One chunk between its begin and end marks, `(1, 77, D)`; one at a time, so that a long neighbour changes nothing.

    Weights multiply the encoding of their token; then its mean over the chunk is restored, as the A1111 web UI does.
    The pooled text knows no weights there, and none here.
    """
    tokenizer, encoder = checkpoint.parts.tokenizers[clip.tokenizer], checkpoint.parts.text_encoders[clip.encoder]
    room = tokenizer.model_max_length
    begin, end = _marks(tokenizer)
    ids = [begin, *chunk.ids, end]
    mask = [1] * len(ids) + [0] * (room - len(ids))
    ids += [tokenizer.pad_token_id] * (room - len(ids))
    # nothing here waits for the device: a text is encoded between the passes of others
    tokens = checkpoint.device.tensor([ids])
    attention = checkpoint.device.tensor([mask]) if _uses_mask(encoder) else None
    in_between = clip.layer is not None or clip.skipped > 0
    with _in_place(checkpoint, clip, chunk):
        output = encoder(tokens, attention_mask=attention, output_hidden_states=in_between, return_dict=True)
    encoding = output.hidden_states[clip.place] if in_between else output.last_hidden_state
    if in_between and clip.layer is None:
        encoding = _final_norm(encoder)(encoding)
    pooled = [output.text_embeds] if "text_embeds" in output else []
    return (_emphasised(encoding, chunk, checkpoint.device), *pooled)


def _marks(tokenizer: Any) -> tuple[int, int]:
    """The ids of what stands before and behind a text; BERT has other names for them."""
    if tokenizer.bos_token_id is None:
        return tokenizer.cls_token_id, tokenizer.sep_token_id
    return tokenizer.bos_token_id, tokenizer.eos_token_id


@contextmanager
def _in_place(checkpoint: Checkpoint, clip: Clip, chunk: Chunk) -> Iterator[None]:
    """Meanwhile the text encoder finds the vectors of the chunk's embeddings in their places."""
    if not chunk.embeddings:
        yield
        return
    alone = len(checkpoint.parts.text_encoders) == 1

    def replaced(_module: torch.nn.Module, _inputs: Any, words: torch.Tensor) -> torch.Tensor:
        words = words.clone()
        for place, embedding in chunk.embeddings:
            vectors = embedding.for_encoder(clip.encoder, alone)
            if vectors is not None:
                there = checkpoint.device.send(vectors.to(words.dtype))
                words[:, 1 + place : 1 + place + embedding.count] = there
        return words

    hook = checkpoint.parts.text_encoders[clip.encoder].get_input_embeddings().register_forward_hook(replaced)
    try:
        yield
    finally:
        hook.remove()


def _final_norm(encoder: Any) -> torch.nn.Module:
    """What normalises the last layer; one with a projection has it a module deeper, and so has BERT."""
    norm: torch.nn.Module
    if hasattr(encoder, "model"):
        norm = encoder.model.layer_norm
    else:
        norm = getattr(encoder, "text_model", encoder).final_layer_norm
    return norm


def _emphasised(encoding: torch.Tensor, chunk: Chunk, device: Device) -> torch.Tensor:
    if all(weight == 1.0 for weight in chunk.weights):
        return encoding
    neutral = [1.0] * (encoding.shape[1] - 1 - len(chunk.weights))
    weights = device.tensor([1.0, *chunk.weights, *neutral]).to(encoding.dtype)
    weighted = encoding * weights[None, :, None]
    before, after = encoding.mean(), weighted.mean()
    # a mean of nearly nothing would turn the restoration into an explosion
    return torch.where(after.abs() > 1e-6, weighted * (before / after), weighted)


def _uses_mask(encoder: torch.nn.Module) -> bool:
    return bool(getattr(encoder.config, "use_attention_mask", False))
