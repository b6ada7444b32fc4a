"""A file of prompts: one a line, in the folder where the operator puts such files."""

from dataclasses import dataclass
from pathlib import Path

from shared.text_files import NotUtf8, lines_of, read_text_file


@dataclass(frozen=True)
class PromptFile:
    """The prompts of a file, without its empty lines."""

    name: str
    prompts: tuple[str, ...]


def read_prompt_file(folder: Path, name: str, max_chars: int) -> PromptFile:
    """Read the file `name` of `folder`; raises ValueError with a sentence for the client.

    A link that leads out of the folder is refused, and so is anything but a regular file.
    """
    try:
        path = (folder / name).resolve(strict=True)
        if path.parent != folder.resolve() or not path.is_file():
            raise ValueError
        text = read_text_file(path)
    except NotUtf8 as wrong:
        raise ValueError(f"'{name}' {wrong}.") from None
    except (OSError, ValueError, RuntimeError):
        # RuntimeError: a circle of links
        raise ValueError(f"No readable UTF-8 text file '{name}' in the prompts folder.") from None
    prompts = tuple(line.strip() for line in lines_of(text) if line.strip())
    if not prompts:
        raise ValueError("Has no line with a prompt.")
    if any(len(prompt) > max_chars for prompt in prompts):
        raise ValueError(f"Has a line of more than {max_chars} characters.")
    return PromptFile(name, prompts)
