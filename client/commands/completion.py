"""`pdiff completion bash`: what makes a shell complete commands, options and their values."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion of SHELL; put it where the shell looks, as in `eval "$(pdiff completion bash)"`."""
    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - click has one for each of the choices
    click.echo(found(ctx.find_root().command, {}, "pdiff", "_PDIFF_COMPLETE").source())
