"""`pdiff mcp`: the service as tools for agents."""

import sys

import click

from client.server import key_for, server_options

_TOOLS = {"mcp", "mcp_types"}


@click.command(
    params=[
        click.Option(
            ["wait_s", "--wait"], type=click.FloatRange(0, 3600), default=50.0, show_default=True, metavar="SECONDS",
            help="Tell the job's id instead of its images when they take longer; many programs give up after 60 s.",
        ),
        *server_options(),
    ]
)  # fmt: skip
def mcp(server: str, key: str | None, wait_s: float) -> None:
    """Serve agents over stdin and stdout (Model Context Protocol).

    Programs with agents start it themselves; docs/clients.md has what they want to be told.
    """
    try:
        import anyio

        from client.agent.server import serve_stdio
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in _TOOLS:
            raise
        raise click.ClickException("Agents need a package that is not installed: pip install 'mcp>=2.3,<3'.") from None
    if sys.stdin.isatty():
        click.echo("Waiting for a program with an agent on stdin; Ctrl-C ends it.", err=True)
    anyio.run(serve_stdio, server, key_for(server, key), wait_s)
