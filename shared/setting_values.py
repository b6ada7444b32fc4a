"""How the values of settings are written: what people put into a shell or a `.env` file is read as they mean it.

Every function raises `EnvError` with the name of the variable where a value cannot be used.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from environs import Env, EnvError

# GB as on a disk's label, GiB as on a memory module's; short forms as docker and Kubernetes have them
_SHORT = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_UNITS = _SHORT | {f"{unit}b": factor for unit, factor in _SHORT.items()}


class Environment(Env):
    """The process's environment, in which a variable that is set to nothing counts as not set."""

    def _get_value(self, env_key: str, default: Any) -> Any:
        value = super()._get_value(env_key, default)
        return default if isinstance(value, str) and not value.strip() else value


def entries(env: Env, name: str) -> tuple[str, ...]:
    """What stands between commas, without empty entries."""
    return tuple(filter(None, (entry.strip() for entry in env.str(name, "").split(","))))


def choice(env: Env, name: str, default: str, choices: Sequence[str]) -> str:
    """One of these words, in upper or lower case."""
    text = env.str(name, default).strip()
    for each in choices:
        if each.lower() == text.lower():
            return each
    raise EnvError(f"{name}: '{text}' is none of {', '.join(choices)}")


def home(name: str, text: str) -> str:
    """A path or URL with `~` at its beginning replaced by the home folder."""
    if not text.startswith("~"):
        return text
    try:
        return str(Path(text).expanduser())
    except RuntimeError:
        raise EnvError(f"{name}: no home folder is known for '{text}'; write the whole path") from None


def folder(env: Env, name: str, default: Path) -> Path:
    """A path; `~` is the home folder."""
    return Path(home(name, env.str(name, str(default))))


def folders(env: Env, name: str) -> tuple[str, ...]:
    """The paths that stand between commas; `~` is the home folder."""
    return tuple(home(name, entry) for entry in entries(env, name))


def byte_count(env: Env, name: str, default: int, least: int = 0) -> int:
    """A number of bytes, written plainly or as in `500MB`, `4 GB`, `8G`, `1.5GiB`."""
    text = env.str(name, str(default))
    found = re.fullmatch(r"(\d{1,30}(?:\.\d{1,30})?)\s*([a-z]*)", text.strip().lower())
    if found is None or found[2] not in _UNITS:
        raise EnvError(f"{name}: '{text}' is no number of bytes; write bytes, or a number with MB, GB or GiB")
    # not by way of float where there is no fraction: large numbers would be rounded
    count = int(found[1]) * _UNITS[found[2]] if found[1].isdigit() else int(float(found[1]) * _UNITS[found[2]])
    if count < least:
        raise EnvError(f"{name}: '{text}' is too little; it must be at least {least} bytes")
    return count


def pixel_count(env: Env, name: str, default: int, least: int) -> int:
    """A number of pixels, written plainly or as a size such as `1024x1024`; 0 is allowed as well."""
    text = env.str(name, str(default)).strip().lower()
    found = re.fullmatch(r"(\d{1,9})(?:x(\d{1,9}))?", text)
    if found is None:
        raise EnvError(f"{name}: '{text}' is no number of pixels; write one, or a size like 1024x1024")
    count = int(found[1]) * int(found[2] or 1)
    if 0 < count < least:
        raise EnvError(f"{name}: '{text}' is too little; it must be at least {least} pixels, or 0")
    return count
