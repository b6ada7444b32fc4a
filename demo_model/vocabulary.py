"""The tokenizer's files, made from the world's own captions: CLIP's byte-level BPE with a small vocabulary.

The format is CLIP's: every byte is a symbol, alone and at a word's end, so any text can be written; merges follow
(byte-pair encoding, arXiv 1508.07909), learned only from words the world knows.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from collections import Counter
from pathlib import Path

from transformers import CLIPTokenizer

from demo_model.captions import IGNORED, caption
from demo_model.world import sample_scene

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
MAX_TOKENS = 77
#: Words as CLIP cuts them, for the plain text of captions: runs of letters, single digits, runs of the rest.
_WORDS = re.compile(r"[^\W\d_]+|\d|[^\w\s]+")


def byte_symbols() -> list[str]:
    """A printable character for each byte, in CLIP's order: the printable bytes first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [b for b in range(256) if b not in printable]
    symbols = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(hidden)}
    return [symbols[b] for b in (*printable, *hidden)]


def learn_merges(words: Counter[str]) -> list[tuple[str, str]]:
    """Merge the most frequent neighbours until every word is one token; ties go to the first in the alphabet."""
    pieces = {word: (*word[:-1], word[-1] + WORD_END) for word in words}
    merges: list[tuple[str, str]] = []
    while True:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in pieces.items():
            for pair in itertools.pairwise(parts):
                pairs[pair] += words[word]
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for word, parts in pieces.items():
            joined: list[str] = []
            for part in parts:
                if joined and (joined[-1], part) == best:
                    joined[-1] += part
                else:
                    joined.append(part)
            pieces[word] = tuple(joined)


def write_tokenizer(folder: Path) -> None:
    """Write vocab.json, merges.txt and the two configuration files of a CLIP tokenizer."""
    counts: Counter[str] = Counter()
    for seed in range(20_000):
        text = caption(sample_scene(seed), random.Random(seed)).lower()
        counts.update(word for word in _WORDS.findall(text) if word.isascii())
    # Invented words come once or twice; the world's own words come often.
    known = Counter({word: n for word, n in counts.items() if n >= 25 and word not in IGNORED})
    merges = learn_merges(known)
    symbols = byte_symbols()
    names = [*symbols, *(s + WORD_END for s in symbols), *dict.fromkeys(a + b for a, b in merges), START, END]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {name: i for i, name in enumerate(names)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n", encoding="utf-8")
    settings = {
        "tokenizer_class": "CLIPTokenizer", "model_max_length": MAX_TOKENS, "add_prefix_space": False,
        "do_lower_case": True, "errors": "replace", **special,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer as the service loads it."""
    tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder)
    return tokenizer
