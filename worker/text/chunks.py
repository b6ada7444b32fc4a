"""Prompts as tokens: chunks of 75, each token with its weight. The text is the matter of `shared.request.prompts`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.request.cost import CHUNK_TOKENS
from shared.request.prompts import Fragment


@dataclass(frozen=True)
class Chunk:
    """Up to 75 token ids, without begin and end marks, and the weight of each."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]


def chunks(fragments: Sequence[Fragment], tokenize: Callable[[str], Sequence[int]]) -> list[Chunk]:
    """Token ids in chunks of 75, each id with its weight; at least one chunk. `tokenize` gives ids without marks."""
    done: list[Chunk] = []
    ids: list[int] = []
    weights: list[float] = []

    def close() -> None:
        done.append(Chunk(tuple(ids), tuple(weights)))
        ids.clear()
        weights.clear()

    for fragment in fragments:
        if fragment.starts_chunk:
            close()
        for token in tokenize(fragment.text) if fragment.text else ():
            if len(ids) == CHUNK_TOKENS:
                close()
            ids.append(token)
            weights.append(fragment.weight)
    if ids or not done:
        close()
    return done
