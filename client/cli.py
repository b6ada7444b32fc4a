"""The command line of Personal Diffusion: `pdiff`, or `python -m client`."""

import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import click

from client.errors import CannotBeSent, ClientError, Refused
from shared.version import VERSION

# in the order in which the help lists them; each is imported only when it is needed
COMMANDS = (
    "generate", "img2img", "inpaint", "jobs", "models", "samplers", "batch", "rerun", "upscale", "keys", "txt2img",
    "grid", "serve", "mcp", "completion",
)  # fmt: skip
FAILED, USAGE, INTERRUPTED = 1, 2, 130


class CommandLine(click.Group):
    """Imports a command when it is called, and ends with one line and one of four statuses, whatever goes wrong."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = getattr(importlib.import_module(f"client.commands.{cmd_name}"), cmd_name)
        return found

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and leave the process: 0, 1 failed, 2 used wrongly, 130 interrupted."""

        def run() -> Any:
            return super(CommandLine, self).main(
                args, prog_name, complete_var, standalone_mode=False, windows_expand_args=windows_expand_args, **extra
            )

        if not standalone_mode:
            return run()
        _open_what_is_closed()
        try:
            status = run()
            sys.stdout.flush()
        except BrokenPipeError:
            _leave_the_pipe()
        except click.Abort as ended:
            _tell(str(ended.__cause__ or ""))
            sys.exit(FAILED if isinstance(ended.__cause__, EOFError) else INTERRUPTED)
        except click.ClickException as wrong:
            wrong.show()
            sys.exit(wrong.exit_code)
        except ClientError as wrong:
            _tell(str(wrong))
            is_usage = isinstance(wrong, CannotBeSent) or (
                isinstance(wrong, Refused) and wrong.code == "invalid_request"
            )
            sys.exit(USAGE if is_usage else FAILED)
        except OSError as wrong:
            _tell(f"{wrong.filename}: {wrong.strerror}." if wrong.filename else f"{wrong.strerror or wrong}.")
            sys.exit(FAILED)
        sys.exit(status if isinstance(status, int) else 0)


def _open_what_is_closed() -> None:
    """Print to nowhere where a shell has closed standard output or error (`>&-`): Python has None for it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - until the end


def _tell(sentence: str) -> None:
    """One line on standard error; nowhere, if nobody reads that."""
    with suppress(OSError):
        if sentence:
            click.echo("pdiff: " + " ".join(sentence.split()), err=True)


def _leave_the_pipe() -> NoReturn:
    """Whoever read our output has enough of it; Python would complain while it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(FAILED)


_SETTINGS = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
    # PDIFF_GENERATE_MODEL=sd15 stands for `pdiff generate --model sd15`, and so on
    "auto_envvar_prefix": "PDIFF",
}


@click.command(cls=CommandLine, context_settings=_SETTINGS)
@click.version_option(VERSION, prog_name="personal-diffusion")
def cli() -> None:
    """Personal Diffusion: a queued Stable Diffusion service of your own."""
