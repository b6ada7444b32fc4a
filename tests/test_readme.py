"""The README says what the code does: its tables are compared with the code they describe."""

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from api.app import create_app
from api.http.errors import STATUS
from api.services import build_services
from client.local.launcher import example_curl
from shared.errors import (
    JobError,
    LeaseLost,
    RequestError,
    ServiceError,
    TaskBusy,
    TryLater,
    WorkerFailed,
    WorkerStopping,
    all_errors,
)
from shared.settings import Settings
from tests.readme_tables import README, replaced


@pytest.fixture(scope="module")
def readme() -> str:
    return README.read_text()


@pytest.fixture(scope="module")
def app() -> Flask:
    return create_app(build_services(Settings()))


def _tasks(readme: str, heading: str) -> list[list[str]]:
    """The cells of the tables in one section, without their heads."""
    section = re.search(rf"^##+ {heading}\n(.*?)(?=^##+ |\Z)", readme, re.DOTALL | re.MULTILINE)
    assert section, f"no section {heading}"
    lines = [line for line in section[1].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_generated_tables_are_up_to_date(readme: str) -> None:
    """Given the schemas, samplers and models, then the README's tables are what `make tables` makes of them."""
    assert replaced(readme) == readme, "run `make tables`"


def test_every_setting_is_listed_with_its_default(readme: str) -> None:
    """Given the settings, then the README names each, with the default it really has."""
    listed = {name.strip("`"): default.strip("`") for name, default, _ in _tasks(readme, "Settings")}
    assert listed == {field.name.upper(): _written(field.default) for field in fields(Settings)}


def _written(default: Any) -> str:
    if isinstance(default, bool):
        return json.dumps(default)
    return ",".join(default) if isinstance(default, tuple) else str(default)


def test_every_error_is_listed_with_its_status(readme: str) -> None:
    """Given the error tree, then the README lists each error that a client can meet, with its HTTP status."""
    listed = {(int(status), code.strip("`")) for status, code, _ in _tasks(readme, "Errors")}
    groups_and_internals = (
        ServiceError,
        RequestError,
        TryLater,
        JobError,
        LeaseLost,
        TaskBusy,
        WorkerStopping,
        WorkerFailed,
    )
    assert listed == {(STATUS[kind], kind.code) for kind in all_errors() if kind not in groups_and_internals}


def test_every_endpoint_is_listed(readme: str, app: Flask) -> None:
    """Given the routes of the API, then the README lists each, and none that is not there."""
    listed = {re.sub(r"<[^>]+>", "<>", call.strip("`")) for call, _ in _tasks(readme, "Endpoints")}
    served = {
        f"{method} {re.sub(r'<[^>]+>', '<>', rule.rule)}"
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert listed == served


def test_the_first_command_is_the_one_that_make_run_prints(readme: str) -> None:
    """Given the default settings, then the README's first curl line is what the launcher prints."""
    assert re.findall(r"^curl .*", readme, re.MULTILINE)[0] == example_curl(Settings())


def test_the_make_targets_exist(readme: str) -> None:
    """Given every `make <target>` in the README, then the Makefile has that target."""
    makefile = Path(README.with_name("Makefile")).read_text()
    for target in set(re.findall(r"\bmake ([a-z]+)\b(?=[`\n])", readme)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_to_files_lead_somewhere(readme: str) -> None:
    """Given the files and folders that the README names, then they exist."""
    named = set(re.findall(r"\]\(([^)#:]+)\)", readme)) | set(
        re.findall(r"`([a-z0-9_]+/(?:[a-z0-9_/]+\.[a-z]+)?)`", readme)
    )
    made_at_run_time = {"outputs/"}
    assert {name for name in named - made_at_run_time if not (README.parent / name).exists()} == set()
