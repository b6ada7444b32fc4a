"""Changes that happen only if what they rest on is still so: compared and written in one script inside Redis.

What was read is compared field by field, so that two workers at two tasks of one job do not disturb each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.commands.core import CoreCommands

from shared.jobs.scripts import script


@dataclass(frozen=True)
class Read:
    """A field of a hash as it was read; `value` is None where there was none."""

    key: str
    field: str
    value: str | None


class Writes(CoreCommands):
    """Takes the commands of a client, to be carried out later, all or none. Each must have an answer that is not nil.

    One command has 7,000 words at most: Lua passes them on its stack.
    """

    _event_dispatcher: Any = None  # declared by the base class, for what it does when it reconnects

    def __init__(self) -> None:
        self.commands: list[tuple[Any, ...]] = []

    def execute_command(self, *words: Any, **_options: Any) -> None:
        self.commands.append(words)

    def run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> None:
        """Run a script among the commands: one that `commit.lua` uses."""
        self.commands.append((script, len(keys), *keys, *arguments))


class Commits:
    """Carries out writes. May raise `redis.RedisError`."""

    def __init__(self, client: Any) -> None:
        self._commit = client.register_script(script("commit"))

    def attempt(self, key: str, read: Sequence[Read], writes: Writes) -> list[Any] | None:
        """Carry out `writes` and give their answers; None, and nothing is written, if a field has changed since.

        `key` is the record that it is about.
        """
        compared = [text for each in read for text in (each.key, each.field, each.value or "")]
        commands = [word for words in writes.commands for word in (len(words), *words)]
        answers: list[Any] | None = self._commit(keys=[key], args=[len(read), *compared, *commands])
        return answers
