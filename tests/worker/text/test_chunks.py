"""Prompts as tokens: chunks."""

import pytest

from shared.request.prompts import Fragment, parse_emphasis
from worker.text.chunks import Chunk, chunks


def by_letter(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def test_chunks_hold_75_tokens() -> None:
    """Given 160 tokens, when they are cut, then chunks hold 75, 75 and 10, each token with its weight."""
    cut = chunks([Fragment("a" * 100, 1.0), Fragment("b" * 60, 1.5)], by_letter)
    assert [len(chunk.ids) for chunk in cut] == [75, 75, 10]
    assert cut[1] == Chunk((97,) * 25 + (98,) * 50, (1.0,) * 25 + (1.5,) * 50)


@pytest.mark.parametrize(
    ("text", "lengths"),
    [("", [0]), ("a" * 75, [75]), ("a" * 76, [75, 1]), ("ab BREAK c", [2, 1]), ("BREAK c", [0, 1]), ("c BREAK", [1])],
)
def test_chunks_begin_at_breaks_and_there_is_always_one(text: str, lengths: list[int]) -> None:
    """Given a prompt of any length, when it is cut, then a BREAK ends a chunk and no prompt has none."""
    assert [len(chunk.ids) for chunk in chunks(parse_emphasis(text), by_letter)] == lengths
