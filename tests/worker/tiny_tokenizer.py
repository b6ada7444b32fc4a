"""A CLIP tokenizer of few words, for the tiny models."""

import json
from pathlib import Path

# the whole words of the tests; any other text is spelled out letter by letter
WORDS = ("cat", "dog", "red", "blue", "the", "photo", "white", "duck", "tabby")


def write_tokenizer(folder: Path, pad_token: str) -> None:
    """A CLIP tokenizer with a small vocabulary: all printable ASCII, and the merges that make up `WORDS`."""
    letters = [chr(code) for code in range(33, 127)]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            pair = (parts[0], parts[1])
            if pair not in merges:
                merges.append(pair)
            parts = [pair[0] + pair[1], *parts[2:]]
    entries = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges)]
    entries += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {entry: number for number, entry in enumerate(dict.fromkeys(entries))}
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges))
    marks = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": pad_token, **marks}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
