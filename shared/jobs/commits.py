"""Changes that happen only if what they rest on is still so: compared and written in one script inside Redis.

What was read is compared field by field, so that two workers at two tasks of one job do not disturb each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.commands.core import CoreCommands

# KEYS: a job's record; before it stand the scripts that may be among the commands, as functions by their names
# ARGV: how many fields were read; for each its key, name and value ('': none); then the commands, each as the number
# of its words and the words
_COMMIT = """
local at = 2
for _ = 1, tonumber(ARGV[1]) do
    if (redis.call('HGET', ARGV[at], ARGV[at + 1]) or '') ~= ARGV[at + 2] then return false end
    at = at + 3
end
-- a Redis at its maxmemory refuses a script's first write only: this one makes nothing larger, and opens the way for
-- those that end a job, which then makes room
redis.call('HDEL', KEYS[1], '')
local answers = {}
while at <= #ARGV do
    local words, script = tonumber(ARGV[at]), scripts[ARGV[at + 1]]
    if script then
        local keys = tonumber(ARGV[at + 2])
        answers[#answers + 1] = script({unpack(ARGV, at + 3, at + 2 + keys)}, {unpack(ARGV, at + 3 + keys, at + words)})
    else
        answers[#answers + 1] = redis.call(unpack(ARGV, at + 1, at + words))
    end
    at = at + words + 1
end
return answers
"""


@dataclass(frozen=True)
class Read:
    """A field of a hash as it was read; `value` is None where there was none."""

    key: str
    field: str
    value: str | None


class Writes(CoreCommands):
    """Takes the commands of a client, to be carried out later, all or none. Each must have an answer that is not nil.

    Of scripts those are possible that `Commits` knows, by EVAL. One command has 7,000 words at most: Lua passes them on
    its stack.
    """

    _event_dispatcher: Any = None  # declared by the base class, for what it does when it reconnects

    def __init__(self) -> None:
        self.commands: list[tuple[Any, ...]] = []

    def execute_command(self, *words: Any, **_options: Any) -> None:
        self.commands.append(words)


class Commits:
    """Carries out writes. May raise `redis.RedisError`.

    `scripts` are those that writes may have among them: no script can call another, so they become a part of this one.
    """

    def __init__(self, client: Any, scripts: Sequence[str] = ()) -> None:
        self._names = {script: f"script {number}" for number, script in enumerate(scripts)}
        functions = [f"scripts['{name}'] = function(KEYS, ARGV)\n{text}\nend\n" for text, name in self._names.items()]
        self._commit = client.register_script(f"local scripts = {{}}\n{''.join(functions)}{_COMMIT}")

    def attempt(self, key: str, read: Sequence[Read], writes: Writes) -> list[Any] | None:
        """Carry out `writes` and give their answers; None, and nothing is written, if a field has changed since.

        `key` is the record that it is about.
        """
        compared = [text for each in read for text in (each.key, each.field, each.value or "")]
        named = [(self._names[words[1]], *words[2:]) if words[0] == "EVAL" else words for words in writes.commands]
        commands = [word for words in named for word in (len(words), *words)]
        answers: list[Any] | None = self._commit(keys=[key], args=[len(read), *compared, *commands])
        return answers
