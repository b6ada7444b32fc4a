"""`python -m worker.process.reload`: a worker that is started anew whenever its source changes, for work on it."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from shared.settings import environment_with
from worker.process.fleet import Fleet, worker_command

_REPOSITORY = Path(__file__).resolve().parents[2]
_KINDS = ("*.py", "*.toml", "*.lua")


class Sources:
    """The Python, TOML and Lua files below some folders."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = tuple(folders)
        self._seen = self._look()

    def changed(self) -> bool:
        """Whether a file was written, added or deleted since the last call."""
        before, self._seen = self._seen, self._look()
        return before != self._seen

    def _look(self) -> dict[Path, float]:
        seen = {}
        for file in (file for folder in self._folders for kind in _KINDS for file in folder.rglob(kind)):
            with suppress(FileNotFoundError):  # an editor that writes a new file in its place is at work
                seen[file] = file.stat().st_mtime
        return seen


if __name__ == "__main__":
    raise SystemExit(
        Fleet(worker_command(), [environment_with()]).run(
            Sources(_REPOSITORY / name for name in ("shared", "worker")).changed
        )
    )
