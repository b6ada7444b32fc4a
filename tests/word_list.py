"""Private words that give way to the field's: `python -m tests.word_list`, a part of `make lint`.

It looks through code, comments and pages, and fails where a word stands that has another name here. An exception names
where a word may stay, and why.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
ROOMS = ("api", "benchmarks", "client", "demo_model", "deploy", "docs", "readme_examples", "shared", "tests", "worker")
SUFFIXES = {".lua", ".md", ".py", ".sh", ".toml", ".yaml", ".yml"}


@dataclass(frozen=True)
class Word:
    """A pattern that must not stand in a line, and what to say instead; upper and lower case are the same."""

    pattern: str
    instead: str


@dataclass(frozen=True)
class Exempt:
    """Files (as `fnmatch` reads them) in which lines with `pattern` are left alone, and why."""

    files: str
    pattern: str
    reason: str


WORDS = (
    Word(r"\bflights?\b", "running request, running"),
    Word(r"\bwish(es|ed)?\b", "requested option, ask for"),
    Word(r"\bpictures?\b", "image"),
    Word(r"\bresidency\b", "offload"),
    Word(r"\bsigns? of life\b", "heartbeat, lease"),
    Word(r"\bgiven up for dead\b", "a worker whose lease expired"),
    Word(r"\brun well together\b", "optimal batch size"),
    Word(r"\bin company\b", "in a mixed batch"),
    Word(r"\bunet calls?\b|\bstep's calls?\b|\bshares? (a |the same )?calls?\b", "forward pass"),
    Word(r"\brows? of (a|the|one) (job|request|call|batch|unet)\b", "task, batch item"),
    Word(r"\binto line\b|\b(are|be|is|stands?|waits?|waiting) in line\b(?! with)", "in the queue, queued"),
    Word(r"\bbeats?\b", "heartbeat"),
    Word(r"\bwakes again\b", "resumes"),
    Word(r"\beverybody late\b", "past the knee, batching raises latency without raising throughput"),
    Word(r"\bwords of clip\b", "the CLIP tokenizer vocabulary"),
    Word(r"\bshared_best\b", "optimal_batch_size"),
    Word(r"\bsmall_decoder\b", "tiled VAE decoding"),
)
EXCEPTIONS = (
    Exempt("tests/*word_list.py", ".*", "this list, and its test"),
    Exempt("api/responses/archive.py", '"pictures"', "a key of parameters.json, which clients read"),
    Exempt("tests/api/responses/test_archive.py", '"pictures"', "the same key"),
    Exempt("demo_model/captions.py", ".*", "the words that the demo model was trained with"),
    Exempt("*", r"\bpicture\\*: ", "a prompt, of which the colon is what matters"),
)


def findings(root: Path = REPOSITORY) -> Iterator[str]:
    """`file:line: word, say ...` for each private word in the files of the rooms and in those at the root."""
    paths = [path for path in root.iterdir() if path.is_file()]
    paths += [path for room in ROOMS for path in (root / room).rglob("*")]
    for path in sorted(path for path in paths if path.suffix in SUFFIXES or path.name == "Makefile"):
        name = path.relative_to(root).as_posix()
        allowed = [re.compile(each.pattern, re.IGNORECASE) for each in EXCEPTIONS if fnmatch(name, each.files)]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if any(pattern.search(line) for pattern in allowed):
                continue
            for word in WORDS:
                if found := re.search(word.pattern, line, re.IGNORECASE):
                    yield f"{name}:{number}: '{found[0]}': say {word.instead}"


if __name__ == "__main__":
    found = list(findings())
    sys.stderr.write("".join(f"{line}\n" for line in found))
    sys.exit(bool(found))
