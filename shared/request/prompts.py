"""What the text of a prompt means: tags, weighted sub-prompts, emphasis. Knows no tokens and no tensors.

Every function takes time in proportion to the length of the text, whatever stands in it.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from shared.request.notations import NUMBER, remarks, without_tags

_ROUND, _SQUARE = 1.1, 1 / 1.1
_HEAVIEST = 1000.0
# 1.1 to the power of 73 is over the heaviest weight; deeper brackets are paired, and weigh nothing more
_DEEPEST = 100
_SUBPROMPT_TOKEN = re.compile(r"[^\\()\[\]:]++|\\.?|.", re.DOTALL)
_SUBPROMPT_NUMBER = re.compile(rf"({NUMBER})(?=\s|$)")
# a number, a time, a ratio, a verse, a range, a fraction, perhaps behind an opening quote
_NUMBER_WORD = re.compile(r"[\"'“‘„«#$€£(\[]*+(?=[^\d]*+\d)[\d.,:/+\-–−×%°]++")
_LONGEST_LAST_WORD = 60
_EMPHASIS_TOKEN = re.compile(rf"[^\\()\[\]:]++|\\.?|:\s*+({NUMBER})\s*+\)|.", re.DOTALL)
_BREAK = re.compile(r"\bBREAK\b")
_PARTS_NAMED, _LONGEST_NAME = 8, 40
# a prompt is parsed once for its job's images, and a few of them are worked on at a time
_PARSED_KEPT = 16


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
class Part:
    """A sub-prompt as it is used: its share of the whole, and its text in fragments, at least one."""

    share: float
    fragments: tuple[Fragment, ...]


@dataclass(frozen=True)
class ParsedPrompt:
    """A prompt as it was understood: at least one part, and sentences about what its writer may not have meant."""

    parts: tuple[Part, ...]
    remarks: tuple[str, ...]


@lru_cache(maxsize=_PARSED_KEPT)
def parse_prompt(text: str) -> ParsedPrompt:
    """Tags out, sub-prompts apart, emphasis read; the last few results are kept. No text is an error."""
    rest, tags = without_tags(text)
    subprompts, was_split = _split(rest)
    shares = normalised([each.weight for each in subprompts])
    if len(subprompts) == 1:
        shares = [1.0]
    parts = tuple(Part(share, tuple(parse_emphasis(each.text))) for share, each in zip(shares, subprompts, strict=True))
    said = _about_the_split(subprompts, shares) if was_split else []
    return ParsedPrompt(parts, (*said, *remarks(rest, tags)))


def split_subprompts(prompt: str) -> list[SubPrompt]:
    r"""`tabby cat:0.25 white duck:0.75` -> two sub-prompts, as the CompVis forks did it. Never empty.

    A colon outside brackets ends a sub-prompt where a number stands directly behind it, up to white space or the end,
    and the last word before it is no number; what follows the last one weighs 1. Every other colon is text (`16:9`,
    `image: a cat`), and so is `\:`.
    """
    return _split(prompt)[0]


def _split(prompt: str) -> tuple[list[SubPrompt], bool]:
    """The sub-prompts, and whether a weight was read."""
    found: list[SubPrompt] = []
    start = position = depth = 0
    while position < len(prompt):
        token = _SUBPROMPT_TOKEN.match(prompt, position)
        end = token.end() if token else position + 1
        letter = prompt[position]
        if letter in "([":
            depth += 1
        elif letter in ")]":
            depth = max(0, depth - 1)
        elif letter == ":" and depth == 0 and (number := _SUBPROMPT_NUMBER.match(prompt, end)):
            # of the text before it only the end is looked at, which keeps this linear
            before = prompt[max(start, position - _LONGEST_LAST_WORD) : position].split()
            if before and not _NUMBER_WORD.fullmatch(before[-1]):
                found.append(SubPrompt(prompt[start:position].strip(), float(number[1])))
                start = end = number.end()
        position = end
    rest = prompt[start:]
    if not found:
        return [SubPrompt(rest, 1.0)], False
    if rest.strip():
        found.append(SubPrompt(rest.strip(), 1.0))
    return found, True


def normalised(weights: Sequence[float]) -> list[float]:
    """The weights as shares: every sign stays, and no share is beyond 1000.

    They are divided by the sum of the positive ones, by the sum of the magnitudes where none is positive; where all
    are zero, the shares are equal.
    """
    total = math.fsum(weight for weight in weights if weight > 0) or math.fsum(map(abs, weights))
    if total == 0:
        return [1 / len(weights)] * len(weights)
    return [max(weight / total, -_HEAVIEST) for weight in weights]


def _about_the_split(subprompts: Sequence[SubPrompt], shares: Sequence[float]) -> list[str]:
    named = [f"'{_short(each.text)}' (share {share:.3g})" for each, share in zip(subprompts, shares, strict=True)]
    more = len(named) - _PARTS_NAMED
    list_of_names = ", ".join(named[:_PARTS_NAMED]) + (f" and {more} more" if more > 0 else "")
    what = "1 sub-prompt" if len(named) == 1 else f"{len(named)} sub-prompts"
    said = [f"it was read as {what} by the weights behind colons: {list_of_names}; a plain colon is \\:."]
    total = math.fsum(each.weight for each in subprompts)
    if total <= 0:
        said.append(f"the weights of its sub-prompts sum to {total:.3g}, which is not positive.")
    return said


def _short(text: str) -> str:
    words = " ".join(text[: 4 * _LONGEST_NAME].split())
    return words if len(words) <= _LONGEST_NAME else f"{words[:_LONGEST_NAME]}..."


def parse_emphasis(text: str) -> list[Fragment]:
    r"""`a (red:1.3) [cat]` -> fragments, with the rules of the A1111 web UI.

    `(` multiplies by 1.1, `[` divides by 1.1, `(text:w)` multiplies by w, nesting multiplies (a hundred deep), an
    unclosed bracket reaches the end, a backslash makes the next letter literal, and BREAK starts a chunk. Neighbours
    of equal weight merge. Weights are from -1000 to 1000. Never empty.
    """
    pieces: list[list[str]] = [[]]
    weights = [1.0]
    open_round: list[int] = []
    open_square: list[int] = []

    def scale(since: int, factor: float, depth: int) -> None:
        if depth < _DEEPEST:
            for index in range(since, len(weights)):
                weights[index] *= factor

    for token in _EMPHASIS_TOKEN.finditer(text):
        letter, weight = token[0], token[1]
        if letter in "([":
            if pieces[-1]:
                pieces.append([])
                weights.append(1.0)
            (open_round if letter == "(" else open_square).append(len(pieces) - 1)
            continue
        if weight and open_round:
            # bounded, so that a hundred of them stay finite
            scale(open_round.pop(), min(max(float(weight), -_HEAVIEST), _HEAVIEST), len(open_round))
        elif letter == ")" and open_round:
            scale(open_round.pop(), _ROUND, len(open_round))
        elif letter == "]" and open_square:
            scale(open_square.pop(), _SQUARE, len(open_square))
        else:
            pieces[-1].append(letter.removeprefix("\\"))
            continue
        pieces.append([])
        weights.append(1.0)
    for depth, since in enumerate(open_round):
        scale(since, _ROUND, depth)
    for depth, since in enumerate(open_square):
        scale(since, _SQUARE, depth)
    return [part for run in _merged(pieces, weights) for part in _split_at_breaks(*run)]


def _merged(pieces: Sequence[Sequence[str]], weights: Sequence[float]) -> Iterator[tuple[str, float]]:
    """Neighbours of equal weight as one; weights that no image survives are bounded."""
    run: list[str] = []
    current = 1.0
    for piece, weight in zip(pieces, weights, strict=True):
        bounded = min(max(weight, -_HEAVIEST), _HEAVIEST)
        if run and piece and bounded != current:
            yield "".join(run), current
            run = []
        if piece:
            run.extend(piece)
            current = bounded
    yield "".join(run), current


def _split_at_breaks(text: str, weight: float) -> Iterator[Fragment]:
    """The text at each BREAK, without the white space around these."""
    parts = _BREAK.split(text)
    for number, part in enumerate(parts):
        if number > 0:
            part = part.lstrip()
        if number < len(parts) - 1:
            part = part.rstrip()
        yield Fragment(part, weight, starts_chunk=number > 0)
