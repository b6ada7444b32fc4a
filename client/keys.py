"""The keys of this user, one a service, in a file that nobody else can read."""

import json
from pathlib import Path

import click

from client.errors import LocalError
from shared.files import write_file


def own_folder() -> Path:
    """Where this user's files of ours are, such as `~/.config/personal-diffusion`."""
    return Path(click.get_app_dir("personal-diffusion"))


class KeyStore:
    """The file of keys. Every method raises LocalError when the file cannot be read or written."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "keys.json"

    def key_for(self, url: str) -> str | None:
        """The key that was kept for a service, if one was."""
        return self._read().get(_name(url))

    def keep(self, url: str, key: str) -> None:
        """Keep a key; the file is this user's alone (mode 600)."""
        keys = self._read() | {_name(url): key}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_file(self.path, (json.dumps(keys, indent=2) + "\n").encode(), mode=0o600)
        except OSError as error:
            raise LocalError(f"The key cannot be kept in {self.path}: {error.strerror}.") from None

    def _read(self) -> dict[str, str]:
        try:
            keys = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise LocalError(f"{self.path} cannot be read: {error.strerror}.") from None
        except ValueError:
            keys = None
        if not isinstance(keys, dict) or not all(isinstance(key, str) for key in keys.values()):
            raise LocalError(f"{self.path} is not what `pdiff keys set` writes: mend it or delete it.")
        return keys


def _name(url: str) -> str:
    """An address as it stands in the file, however it was written."""
    return (url if "://" in url else f"http://{url}").rstrip("/")
