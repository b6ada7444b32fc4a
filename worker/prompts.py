"""Prompts as text: weighted sub-prompts, emphasis, and chunks of 75 tokens. Knows no tensors."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

CHUNK_TOKENS = 75
_ROUND, _SQUARE = 1.1, 1 / 1.1
_HEAVIEST = 1000.0
# text without a meaning of its own, or one letter made literal by a backslash
_PLAIN = re.compile(r"[^\\()\[\]:]+|\\.?", re.DOTALL)
_BREAK = re.compile(r"\s*\bBREAK\b\s*")
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_WEIGHT_CLOSE = re.compile(rf":\s*({_NUMBER})\s*\)")
_SUBPROMPT_NUMBER = re.compile(rf"({_NUMBER})?(?=\s|$)")


@dataclass(frozen=True)
class SubPrompt:
    """A part of a prompt and its weight, as written."""

    text: str
    weight: float


@dataclass(frozen=True)
class Fragment:
    """Text with one emphasis. `starts_chunk` marks the text after a BREAK."""

    text: str
    weight: float
    starts_chunk: bool = False


@dataclass(frozen=True)
class Chunk:
    """Up to 75 token ids, without begin and end marks, and the weight of each."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]


def split_subprompts(prompt: str) -> list[SubPrompt]:
    """`tabby cat:0.25 white duck:0.75` -> two sub-prompts, as the CompVis forks did it.

    Text goes up to a colon outside brackets, its weight up to the next white space; a missing number is 1. A colon
    that is followed by something else than a number is text, and so is `\\:`. Never empty.
    """
    found: list[SubPrompt] = []
    start = position = depth = 0
    while position < len(prompt):
        letter = prompt[position]
        if letter == "\\":
            position += 1
        elif letter in "([":
            depth += 1
        elif letter in ")]":
            depth = max(0, depth - 1)
        elif letter == ":" and depth == 0 and (number := _SUBPROMPT_NUMBER.match(prompt, position + 1)):
            weight = float(number[1]) if number[1] else 1.0
            if math.isfinite(weight):
                found.append(SubPrompt(prompt[start:position].strip(), weight))
                start = position = number.end()
                continue
        position += 1
    rest = prompt[start:]
    if not found:
        return [SubPrompt(rest, 1.0)]
    if rest.strip():
        found.append(SubPrompt(rest.strip(), 1.0))
    return found


def normalised(weights: Sequence[float]) -> list[float]:
    """The weights divided by their sum; equal ones where the sum is nearly zero and dividing would blow them up."""
    total = math.fsum(weights)
    if abs(total) <= 1e-3 * max(abs(weight) for weight in weights):
        return [1 / len(weights)] * len(weights)
    return [weight / total for weight in weights]


def parse_emphasis(text: str) -> list[Fragment]:
    r"""`a (red:1.3) [cat]` -> fragments, with the rules of the A1111 web UI.

    `(` multiplies by 1.1, `[` divides by 1.1, `(text:w)` multiplies by w, nesting multiplies, an unclosed bracket
    reaches the end, a backslash makes the next letter literal, and BREAK starts a chunk. Neighbours of equal weight
    merge. Never empty.
    """
    pieces: list[str] = []
    weights: list[float] = []
    open_round: list[int] = []
    open_square: list[int] = []

    def scale(since: int, factor: float) -> None:
        for index in range(since, len(weights)):
            weights[index] *= factor

    position = 0
    while position < len(text):
        letter, step = text[position], 1
        closing = _WEIGHT_CLOSE.match(text, position)
        if letter == "(":
            open_round.append(len(pieces))
        elif letter == "[":
            open_square.append(len(pieces))
        elif closing and open_round:
            scale(open_round.pop(), float(closing[1]))
            step = len(closing[0])
        elif letter == ")" and open_round:
            scale(open_round.pop(), _ROUND)
        elif letter == "]" and open_square:
            scale(open_square.pop(), _SQUARE)
        else:
            run = _PLAIN.match(text, position)
            pieces.append(run[0].removeprefix("\\") if run else letter)
            weights.append(1.0)
            step = len(run[0]) if run else 1
        position += step
    for since in open_round:
        scale(since, _ROUND)
    for since in open_square:
        scale(since, _SQUARE)
    return _split_at_breaks(_merged(pieces, weights))


def _merged(pieces: Sequence[str], weights: Sequence[float]) -> list[tuple[str, float]]:
    """Neighbours of equal weight as one; weights that no picture survives are bounded."""
    merged: list[tuple[str, float]] = []
    for piece, weight in zip(pieces, weights, strict=True):
        bounded = min(max(weight, -_HEAVIEST), _HEAVIEST)
        if merged and merged[-1][1] == bounded:
            merged[-1] = (merged[-1][0] + piece, bounded)
        else:
            merged.append((piece, bounded))
    return merged or [("", 1.0)]


def _split_at_breaks(pieces: Sequence[tuple[str, float]]) -> list[Fragment]:
    return [
        Fragment(part, weight, starts_chunk=number > 0)
        for text, weight in pieces
        for number, part in enumerate(_BREAK.split(text))
    ]


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
