"""Textual inversion: vectors out of a file in the place of a word (Gal et al., arXiv 2208.01618)."""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from shared.catalogue.kinds import EMBEDDING
from shared.catalogue.models import Catalogue, OtherFile
from shared.catalogue.tensors import NotUsable
from shared.request.cost import CHUNK_TOKENS
from shared.request.prompts import parse_prompt
from worker.models.weights_file import Weights, opened, state_of

FIRST, SECOND = "clip_l", "clip_g"
"""What files for two text encoders call the vectors of each."""
_ONLY = ""
# diffusers' training scripts and kohya's have their own words for the same two
_NAMES_OF_TWO = ({"clip_l": FIRST, "clip_g": SECOND}, {"text_encoders_0": FIRST, "text_encoders_1": SECOND})
# the A1111 web UI's `string_to_param` and kohya's `emb_params`
_NAMES_OF_ONE = re.compile(r"^(string_to_param\..+|emb_params)$", re.DOTALL)
_MOST_BYTES, _WIDEST = 16 * 1024 * 1024, 8192
_FILES_KEPT = 256


@dataclass(frozen=True)
class Embedding:
    """An embedding by the name that stands for it in a prompt.

    `vectors` `(n, D)`, float32, are by the text encoder that they are for, `clip_l` or `clip_g`, or under "" where
    there is one. `problem`: why it has none, after its name.
    """

    name: str
    sha256: str
    vectors: Mapping[str, torch.Tensor] = field(default_factory=dict, compare=False)
    problem: str = ""

    @property
    def count(self) -> int:
        """The places that it takes in a prompt."""
        return next(iter(self.vectors.values())).shape[0]

    def for_encoder(self, encoder: str, alone: bool) -> torch.Tensor | None:
        """The vectors for one of a model's text encoders, by its folder; None where it has none."""
        if alone:
            return self.vectors.get(_ONLY)
        return self.vectors.get(SECOND if encoder.endswith("_2") else FIRST)


EmbeddingsIn = Callable[[Iterable[str]], tuple[Embedding, ...]]
"""Gives the embeddings that the texts of prompts name."""


def none_in(_texts: Iterable[str]) -> tuple[Embedding, ...]:
    """Where there are no files."""
    return ()


class EmbeddingFiles:
    """The embeddings among the models, each read when a prompt names it. Used on the engine's thread alone."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._read: OrderedDict[Path, tuple[object, Embedding]] = OrderedDict()

    def named_in(self, texts: Iterable[str]) -> tuple[Embedding, ...]:
        """Those that the texts of prompts name, as their files are now."""
        texts = tuple(texts)
        written = "\n".join(texts).replace("\\", "").casefold()
        likely: dict[str, tuple[OtherFile, Path]] = {}
        for other in self._catalogue.others:
            if other.kind == EMBEDDING and other.path is not None and other.name.casefold() in written:
                likely.setdefault(other.name, (other, other.path))
        if not likely:
            return ()
        fragments = [each.text for text in texts for part in parse_prompt(text).parts for each in part.fragments]
        named = dict.fromkeys(
            name for each in fragments for is_name, name in split_at_names(each, tuple(likely)) if is_name
        )
        return tuple(self._embedding(*likely[name]) for name in named)

    def _embedding(self, other: OtherFile, path: Path) -> Embedding:
        try:
            state = state_of(path.stat())
        except OSError:
            state = None
        known = self._read.get(path)
        if known is None or state is None or known[0] != state or known[1].name != other.name:
            known = self._read[path] = (state, _read(other, path))
            if len(self._read) > _FILES_KEPT:
                self._read.popitem(last=False)
        self._read.move_to_end(path)
        return known[1]


def split_at_names(text: str, names: tuple[str, ...]) -> list[tuple[bool, str]]:
    """The text in pieces, each with whether it is one of `names`, as the A1111 web UI finds them: whole words, the
    longest first, whatever their case; of two that differ by case alone the one that is written so, else the first."""
    if not names or not text:
        return [(False, text)] if text else []
    folded: dict[str, str] = {}
    for name in names:
        folded.setdefault(name.casefold(), name)
    pieces, end = [], 0
    for found in _pattern(names).finditer(text):
        meant = found[0] if found[0] in names else folded.get(found[0].casefold())
        if meant is None:
            continue  # the pattern takes a dotless i for an i
        if found.start() > end:
            pieces.append((False, text[end : found.start()]))
        pieces.append((True, meant))
        end = found.end()
    return [*pieces, (False, text[end:])] if end < len(text) else pieces


@lru_cache(maxsize=64)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    choices = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    # CLIP takes an underscore for a mark, which ends a word
    return re.compile(rf"(?<![^\W_])(?:{choices})(?![^\W_])", re.IGNORECASE)


def _read(other: OtherFile, path: Path) -> Embedding:
    """The file as it is now, or why it cannot be used."""
    digest = ""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise NotUsable(f"is larger than an embedding of {CHUNK_TOKENS} vectors can be: get another file")
        before = state_of(path.stat())
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with opened(path) as weights:
            vectors = _vectors(weights)
        if state_of(path.stat()) != before:
            raise NotUsable("was changed while it was read: ask again once it is whole")
    except (OSError, ValueError, KeyError) as broken:
        told = str(broken) if isinstance(broken, NotUsable) else "cannot be read: see to its place and permissions"
        return Embedding(other.name, digest, problem=f"{other.shown} {told}")
    return Embedding(other.name, digest, vectors)


def _vectors(weights: Weights) -> Mapping[str, torch.Tensor]:
    """By text encoder, `(n, D)` float32. Raises NotUsable."""
    names = list(weights)
    for two in _NAMES_OF_TWO:
        if set(two) <= set(names):
            found = {ours: _checked(weights[theirs]) for theirs, ours in two.items()}
            if len({each.shape[0] for each in found.values()}) > 1:
                raise NotUsable("has more vectors for one text encoder than for the other: get another file")
            return found
    chosen = [name for name in names if _NAMES_OF_ONE.match(name)] or names
    if len(chosen) != 1:
        raise NotUsable("has vectors under several names, which no embedding has: get another file")
    return {_ONLY: _checked(weights[chosen[0]])}


def _checked(tensor: torch.Tensor) -> torch.Tensor:
    vectors = tensor.float()
    if vectors.dim() == 1:
        vectors = vectors[None]
    if vectors.dim() != 2 or not 1 <= vectors.shape[0] <= CHUNK_TOKENS or not 1 <= vectors.shape[1] <= _WIDEST:
        shape = " x ".join(map(str, tensor.shape)) or "one number"
        raise NotUsable(f"holds {shape}, and an embedding is 1 to {CHUNK_TOKENS} vectors: get another file")
    if not vectors.isfinite().all():
        raise NotUsable("holds values that are no numbers (NaN): get another file")
    return vectors.contiguous()


def width_of(encoder: Any) -> int:
    """How long the vectors of its words are."""
    return int(encoder.get_input_embeddings().weight.shape[1])


def told_widths(embedding: Embedding) -> Sequence[int]:
    """The widths of its vectors, one for each text encoder."""
    return [vectors.shape[1] for vectors in embedding.vectors.values()]
