"""Prompts as tokens: chunks of 75, each token with its weight. The text is the matter of `shared.request.prompts`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.request.cost import CHUNK_TOKENS
from shared.request.prompts import Fragment
from worker.text.embeddings import Embedding, split_at_names

_PLACE = 0


@dataclass(frozen=True)
class Chunk:
    """Up to 75 token ids, without begin and end marks, and the weight of each. `embeddings` are in the place of some of
    them: each with where it begins."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]
    embeddings: tuple[tuple[int, Embedding], ...] = ()


def chunks(
    fragments: Sequence[Fragment], tokenize: Callable[[str], Sequence[int]], embeddings: Sequence[Embedding] = ()
) -> list[Chunk]:
    """Token ids in chunks of 75, each id with its weight; at least one chunk. `tokenize` gives ids without marks.

    The names of `embeddings` are those. One is never cut in two: where it does not fit, the next chunk begins.
    """
    done: list[Chunk] = []
    ids: list[int] = []
    weights: list[float] = []
    placed: list[tuple[int, Embedding]] = []
    by_name = {each.name: each for each in embeddings}

    def close() -> None:
        done.append(Chunk(tuple(ids), tuple(weights), tuple(placed)))
        for each in (ids, weights, placed):
            each.clear()

    def add(tokens: Sequence[int], weight: float) -> None:
        if len(ids) + len(tokens) > CHUNK_TOKENS:
            close()
        ids.extend(tokens)
        weights.extend([weight] * len(tokens))

    for fragment in fragments:
        if fragment.starts_chunk:
            close()
        for is_name, piece in split_at_names(fragment.text, tuple(by_name)):
            if is_name:
                add([_PLACE] * by_name[piece].count, fragment.weight)
                placed.append((len(ids) - by_name[piece].count, by_name[piece]))
                continue
            for token in tokenize(piece):
                add([token], fragment.weight)
    if ids or not done:
        close()
    return done
