"""`pdiff mcp`: what programs are told to start, and what is said where it cannot start."""

import json
import re
import sys

import click
import pytest
from click.testing import CliRunner

from client.cli import cli
from tests.doc_tables import REPOSITORY


def test_the_page_tells_programs_a_command_that_exists() -> None:
    """Given the settings for programs in `docs/clients.md`, then each is JSON, starts `pdiff` with a command that it
    has, and sets variables that this command reads."""
    page = (REPOSITORY / "docs" / "clients.md").read_text()
    section = page.partition("## Agents (MCP)")[2].partition("\n## ")[0]
    blocks = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", section, re.DOTALL | re.MULTILINE)]
    servers = [(block.get("mcpServers") or block.get("servers"))["personal-diffusion"] for block in blocks]
    assert len(servers) == 2
    for server in servers:
        assert server["command"].endswith("/.venv/bin/pdiff")
        command = cli.get_command(click.Context(cli), server["args"][0])
        assert command is not None
        assert set(server["env"]) <= {getattr(option, "envvar", None) for option in command.params}


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given no package mcp, when the agent server is started, then one sentence says what to install."""
    monkeypatch.setitem(sys.modules, "mcp", None)
    for name in [name for name in sys.modules if name.startswith(("client.agent.", "mcp."))]:
        monkeypatch.delitem(sys.modules, name)
    done = CliRunner().invoke(cli, ["mcp"])
    assert done.exit_code == 1
    assert "pip install 'mcp>=2.3,<3'" in done.output


def test_an_address_that_is_none_is_refused() -> None:
    """Given an address that cannot be one, when the agent server is started, then one sentence says so."""
    done = CliRunner().invoke(cli, ["mcp", "--server", "http://a b"], input="")
    assert done.exit_code == 1
    assert "is no address of a service" in done.output
