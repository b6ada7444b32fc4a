"""Notations of other programs that mean nothing here: tags are taken out of a prompt, the others named."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

NUMBER = r"[+-]?(?:\d{1,20}+(?:\.\d{0,20}+)?|\.\d{1,20}+)"
"""A weight as people write it; with bounded digits, so that it is finite and found in one pass."""

TAG_KINDS: Mapping[str, str] = {
    "lora": "a LoRA",
    "lyco": "a LyCORIS",
    "locon": "a LyCORIS",
    "hypernet": "a hypernetwork",
    "embedding": "an embedding",
    "embed": "an embedding",
}
"""What the tags `<kind:name>` and `<kind:name:number>` of other programs ask for; other kinds need the number."""

_TAG = re.compile(
    rf"\\.|<(?:(?:{'|'.join(TAG_KINDS)})\s?:[^<>]{{0,200}}|\w{{1,20}}:[^<>:/]{{1,200}}(?::\s?{NUMBER}\s?){{1,3}})>",
    re.DOTALL | re.IGNORECASE,
)
_LORA_TAG = re.compile(r"<(?:lora|lyco|locon)\b", re.IGNORECASE)
_ESCAPED = re.compile(r"\\.", re.DOTALL)
_MOST_NAMED, _LONGEST_NAME = 5, 60


@dataclass(frozen=True)
class Notation:
    """One notation: how it looks, how it is found in text without escapes, and what it means here."""

    form: str
    pattern: re.Pattern[str]
    here: str


NOTATIONS = (
    Notation(
        "[x:y:n]", re.compile(rf"[\[\]][^\[\]]*:\s{{0,9}}{NUMBER}\s{{0,9}}\]"),
        "less emphasis on the words in it, not prompt editing",
    ),
    Notation("[x|y]", re.compile(r"\[[^\[\]|]*+\|"), "less emphasis on the words in it, not words by turns"),
    Notation("{x|y}", re.compile(r"\{[^{}|]*+\|"), "its words, all of them, not a choice"),
    Notation("AND", re.compile(r"(?<![\w-])AND(?![\w-])"), "the word, not a composition: x:1 y:1 blends two prompts"),
    Notation("embedding:x", re.compile(r"\bembedding:(?=\S)"), "its words, not an embedding"),
    Notation("__x__", re.compile(r"__(?!_)[\w/*.-]{1,100}?(?<!_)__(?!_)"), "its words, not a wildcard"),
)  # fmt: skip


def without_tags(text: str) -> tuple[str, list[str]]:
    """The text without its tags `<kind:name:number>`, and these; one behind a backslash is text."""
    tags: list[str] = []

    def take(found: re.Match[str]) -> str:
        if found[0].startswith("\\"):
            return found[0]
        tags.append(found[0])
        return ""

    return _TAG.sub(take, text), tags


def remarks(text: str, tags: list[str]) -> list[str]:
    """A sentence about the tags that were taken out, and one for each notation that means something else here."""
    said = []
    if tags:
        said.append(f"{_named(tags)} taken out of the text and not used: such tags have no effect here{_hint(tags)}.")
    bare = _ESCAPED.sub("  ", text)
    said += [f"{notation.form} is read as {notation.here}." for notation in NOTATIONS if notation.pattern.search(bare)]
    return said


def _hint(tags: list[str]) -> str:
    of_loras = any(_LORA_TAG.match(tag) for tag in tags)
    return " without lora_tags" if of_loras else ""


def _named(tags: list[str]) -> str:
    different = list(dict.fromkeys(" ".join(tag.split()) for tag in tags))
    names = [tag if len(tag) <= _LONGEST_NAME else f"{tag[:_LONGEST_NAME]}..." for tag in different[:_MOST_NAMED]]
    more = len(different) - len(names)
    return f"{', '.join(names)}{f' and {more} more' if more else ''} {'was' if len(different) == 1 else 'were'}"
