"""The tokenizer of CLIP, which single-file checkpoints leave out: made from OpenAI's list of merges, without the hub.

The list (Radford et al., arXiv 2103.00020) lies beside this file, as OpenAI publishes it, with its licence.
"""

import gzip
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

_MERGES = Path(__file__).with_name("clip_merges.txt.gz")
SIZE = 49408
_MARKS = ("<|startoftext|>", "<|endoftext|>")
_CONTEXT = 77


def clip_tokenizer(pad_token: str) -> Any:
    """A `CLIPTokenizer` with CLIP's own ids.

    `pad_token` is only what is padded with: in a text it means what it means to CLIP, as in the code of Stability AI.
    """
    from transformers import CLIPTokenizer

    vocabulary, merges = _vocabulary()
    tokenizer = CLIPTokenizer(vocab=dict(vocabulary), merges=list(merges), model_max_length=_CONTEXT)
    # given before, it would be a mark of its own wherever it stands: "!" would be the padding of 2.x
    tokenizer.pad_token = pad_token
    return tokenizer


@cache
def _vocabulary() -> tuple[Mapping[str, int], Sequence[tuple[str, str]]]:
    """Token -> id, and the merges in order: single bytes, bytes that end a word, merged pairs, the two marks."""
    letters = list(_letters_of_bytes().values())
    # the first line is a comment, and the list goes on beyond what CLIP was trained with
    lines = gzip.decompress(_MERGES.read_bytes()).decode("utf-8").split("\n")[1:]
    pairs = [line.split() for line in lines[: SIZE - 2 * len(letters) - len(_MARKS)]]
    merges = [(first, second) for first, second in pairs]
    tokens = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges), *_MARKS]
    return {token: number for number, token in enumerate(tokens)}, merges


def _letters_of_bytes() -> dict[int, str]:
    """Byte -> the letter that stands for it, in the vocabulary's order: those that can be printed stand for themselves.

    The others, in order, get the letters from U+0100 on (the byte-level BPE of GPT-2).
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
