"""Changes of job records, each made only if what it rests on is still so.

A change reads a record, decides, and collects its writes. One script inside Redis then compares the fields that were
read and carries out the writes, all or none (`lua/commit.lua`). What was read is compared field by field, so that two
workers at two tasks of one job do not disturb each other. No job record changes in any other way, save that it is
created (`lua/accept_job.lua`) and that it expires.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from redis.commands.core import CoreCommands

from shared.jobs.keys import Keys
from shared.jobs.records import Taken, TaskRef
from shared.jobs.scripts import script
from shared.jobs.signals import TaskBusy

T = TypeVar("T")
# what every change reads of a record
_HEAD = ("state", "request", "owner", "created", "started", "variant", "rows", "done", "bytes")


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


class Records:
    """The job records of one Redis, as they are changed. May raise `redis.RedisError`."""

    def __init__(self, client: Any, keys: Keys) -> None:
        self._redis = client
        self._keys = keys
        self.commits = Commits(client)

    def change(
        self,
        job_id: str,
        task: int | None,
        change: Callable[[dict[str, str], Writes], T],
        message: str = "",
        answers: list[Any] | None = None,
    ) -> T:
        """Run `change(record, writes)` on the head of a record and one of its tasks, until its writes could be made.

        They are made only if the state and the task are still what `change` saw, and the message `message` still holds
        the task, else TaskBusy is raised. What Redis answered to them is appended to `answers`.
        """
        key = self._keys.job(job_id)
        task_fields = [] if task is None else [f"row:{task}"]
        names = [*_HEAD, *task_fields]
        while True:
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.hmget(key, names)
                pipe.hget(self._keys.taken, message)
                values, held = pipe.execute()
            record = {name: value for name, value in zip(names, values, strict=True) if value is not None}
            if message and task is not None and not _is_of(held, message, TaskRef(job_id, task)):
                raise TaskBusy("The message does not hold this task any more.")
            writes = Writes()
            result = change(record, writes)
            if not writes.commands:
                return result
            read = [Read(key, name, record.get(name)) for name in ("state", *task_fields)]
            if message:
                read.append(Read(self._keys.taken, message, held))
            told = self.commits.attempt(key, read, writes)
            if told is not None:
                if answers is not None:
                    answers.extend(told)
                return result


def _is_of(held: str | None, message: str, task: TaskRef) -> bool:
    return held is not None and Taken.parse(message, held).task == task
