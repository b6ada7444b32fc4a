"""The tokenizer: CLIP's format, any text, whole words for what the world knows."""

import json
from collections import Counter

import pytest
from transformers import CLIPTokenizer

from demo_model.release import WEIGHTS
from demo_model.vocabulary import byte_symbols, learn_merges, load_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return load_tokenizer(WEIGHTS / "tokenizer")


def test_every_byte_has_a_symbol(tokenizer: CLIPTokenizer) -> None:
    """Each of the 256 bytes is in the vocabulary, alone and at a word's end, and no two share a number."""
    vocabulary = json.loads((WEIGHTS / "tokenizer" / "vocab.json").read_text(encoding="utf-8"))
    assert len(set(byte_symbols())) == 256
    assert all(symbol in vocabulary and symbol + "</w>" in vocabulary for symbol in byte_symbols())
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))


@pytest.mark.parametrize(
    "text", ["a red circle", "日本の城 и дракон", "naïve café 42", "🦊 🐉", "zorple ((dragon))", "", "x" * 500]
)
def test_any_text_comes_back(tokenizer: CLIPTokenizer, text: str) -> None:
    """Text of any script is cut into known tokens and reads the same afterwards, but for case and spaces."""
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids).replace(" ", "") == text.lower().replace(" ", "")


def test_words_of_the_world_are_single_tokens(tokenizer: CLIPTokenizer) -> None:
    """Colour and shape words are one token each, in either case."""
    for word in ("red", "Purple", "circle", "crescent", "background", "house", "mountain"):
        assert len(tokenizer(word, add_special_tokens=False).input_ids) == 1


def test_padding_is_that_of_stable_diffusion(tokenizer: CLIPTokenizer) -> None:
    """77 tokens: start, text, end, and the end token again as padding."""
    ids = tokenizer("a circle", padding="max_length", truncation=True).input_ids
    assert len(ids) == 77
    assert ids[0] == tokenizer.bos_token_id
    assert set(ids[3:]) == {tokenizer.eos_token_id}
    assert tokenizer.pad_token_id == tokenizer.eos_token_id


def test_merges_join_the_most_frequent_neighbours_first() -> None:
    """Byte-pair encoding by hand: "ab" is the most frequent pair, then its continuation."""
    assert learn_merges(Counter({"abc": 3, "abd": 2}))[:2] == [("a", "b"), ("ab", "c</w>")]
