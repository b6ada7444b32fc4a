"""The version is the same wherever it is shown."""

import re
from pathlib import Path

from click.testing import CliRunner

from api.app import create_app
from api.services import build_services
from client.cli import cli
from shared.settings import Settings
from shared.version import VERSION

REPOSITORY = Path(__file__).resolve().parent.parent


def test_the_api_document_names_the_version() -> None:
    """Given the API, when its OpenAPI document is read, then `info.version` is the version of the service."""
    document = create_app(build_services(Settings())).test_client().get("/openapi.json").get_json()
    assert document["info"]["version"] == VERSION


def test_the_command_line_names_the_version() -> None:
    """Given the command line, when it is asked for its version, then it prints that of the service."""
    assert VERSION in CliRunner().invoke(cli, ["--version"]).output


def test_the_changelog_begins_with_the_version_or_what_comes_next() -> None:
    """Given the changelog, then its first release is this version; only unreleased changes may stand before it."""
    headings = re.findall(r"^## (.*)$", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    released = [heading for heading in headings if heading != "Unreleased"]
    assert re.fullmatch(re.escape(VERSION) + r" - \d{4}-\d{2}-\d{2}", released[0])
    assert "Unreleased" not in headings[1:]
