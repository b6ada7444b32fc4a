"""CLIP's tokenizer without the hub."""

import pytest

from worker.models.clip_tokenizer import SIZE, clip_tokenizer


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("a photo of a cat", [49406, 320, 1125, 539, 320, 2368, 49407]),
        ("A  Photo of a CAT", [49406, 320, 1125, 539, 320, 2368, 49407]),
        ("hello world", [49406, 3306, 1002, 49407]),
        ("a diagram", [49406, 320, 22697, 49407]),
        ("a dog", [49406, 320, 1929, 49407]),
        ("", [49406, 49407]),
    ],
)
def test_the_ids_are_those_of_clip(text: str, ids: list[int]) -> None:
    """Given texts whose ids are published, when they are tokenized, then the ids are those."""
    assert clip_tokenizer("<|endoftext|>")(text).input_ids == ids


def test_the_vocabulary_is_as_large_as_clip_s() -> None:
    """Given the tokenizers of both families, then each has 49408 tokens and pads as its family does."""
    for pad_token, number in (("<|endoftext|>", 49407), ("!", 0)):
        tokenizer = clip_tokenizer(pad_token)
        assert (len(tokenizer), tokenizer.pad_token_id, tokenizer.model_max_length) == (SIZE, number, 77)


@pytest.mark.parametrize("text", ["naïve café", "日本語", "it's 1,000!", "🙂"])
def test_any_text_comes_back(text: str) -> None:
    """Given text beyond ASCII, when it is tokenized and read back, then nothing but spacing is lost."""
    tokenizer = clip_tokenizer("<|endoftext|>")
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert max(ids) < SIZE - 2
    assert tokenizer.decode(ids).replace(" ", "") == text.replace(" ", "")
