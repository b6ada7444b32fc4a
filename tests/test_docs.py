"""README and `docs/` say what the code does: their tables, paths and links are compared with the code."""

import inspect
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from api.app import create_app
from api.http.errors import STATUS
from api.metrics import exposition
from api.services import build_services
from client.local.launcher import example_curl
from shared.catalogue.entries import load_catalogue
from shared.errors import (
    JobError,
    RequestError,
    ServiceError,
    TryLater,
    all_errors,
)
from shared.jobs.keys import Keys
from shared.jobs.workers import WorkerCard
from shared.request import cost
from shared.request.adapters import LARGEST_WEIGHT, MOST_LORAS
from shared.request.control import MOST_CONTROLS, MOST_WEIGHT
from shared.request.defaults import with_defaults
from shared.request.inpainting import MOST_EXPANDED
from shared.settings import Settings
from tests.doc_tables import PAGES, REPOSITORY, replaced

DOCS = REPOSITORY / "docs"
# what bounds workers and the queue, whatever is asked for
OF_WORKERS = {"MAX_ATTEMPTS", "MAX_WAIT_S"}
# what looks like a path below one of the repository's folders, `*` for any name; a module that is run
_PATH = re.compile(
    r"(?<![\w./<-])(?:(?:api|benchmarks|client|demo_model|deploy|docs|readme_examples|shared|tests|worker)/[\w./*-]*"
    r"|docker-compose[\w.-]*\.yml|pyproject\.toml|Makefile)"
)
_MODULE = re.compile(r"(?:python -m |^)(benchmarks\.[\w.]+)")
TEXTS = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
TEXTS = [page for page in [*TEXTS, *sorted(DOCS.glob("*.md"))] if page.exists()]


@pytest.fixture(scope="module")
def app() -> Flask:
    return create_app(build_services(Settings()))


def _entries(page: Path, heading: str) -> list[list[str]]:
    """The cells of the tables in one section, without their heads."""
    section = re.search(rf"^##+ {heading}\n(.*?)(?=^##+ |\Z)", page.read_text(), re.DOTALL | re.MULTILINE)
    assert section, f"no section {heading}"
    lines = [line for line in section[1].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_generated_tables_are_up_to_date(page: Path) -> None:
    """Given the schemas, samplers and models, then the tables of `docs/` are what `make tables` makes of them."""
    assert replaced(page) == page.read_text(), "run `make tables`"


def test_defaults_that_a_model_may_change_are_marked(tmp_path: Path) -> None:
    """Given entries with defaults of their own, then `docs/parameters.md` says that the model's own may count of those
    fields that these fill, and of no other."""
    entry = 'label = "{0}"\naliases = []\nsource = "local:{0}"\nfamily = "sd1"\nconfigs = ["v1-inference.yaml"]\n'
    (tmp_path / "models.toml").write_text(
        f'[one]\n{entry.format("one")}accelerator = "quick"\n'
        f'[two]\n{entry.format("two")}steps = 3\nscale = 2\nsampler = "k_euler"\nschedule = "karras"\n'
    )
    catalogue = load_catalogue("one", tmp_path / "models.toml")
    filled = with_defaults({"ckpt": "one"}, catalogue) | with_defaults({"ckpt": "two"}, catalogue)
    table = _entries(DOCS / "parameters.md", "Both endpoints")
    assert {key.strip("`") for key, default, *_ in table if "the model's own" in default} == filled.keys() - {"ckpt"}


def test_every_setting_is_listed_with_its_default() -> None:
    """Given the settings, then `docs/operating.md` names each, with the default it really has."""
    listed = {name.strip("`"): default.strip("`") for name, default, _ in _entries(DOCS / "operating.md", "Settings")}
    assert listed == {field.name.upper(): _written(field.default) for field in fields(Settings)}


def _written(default: Any) -> str:
    if isinstance(default, bool):
        return json.dumps(default)
    return ",".join(default) if isinstance(default, tuple) else str(default)


def test_every_limit_on_a_request_is_listed() -> None:
    """Given the settings that bound requests, and the bounds that no setting moves, then `docs/limits.md` has a line
    for each, with its number."""
    lines = [line for line in (DOCS / "limits.md").read_text().splitlines() if line.startswith("|")]
    names = {field.name.upper() for field in fields(Settings)}
    bounding = {name for name in names if name.startswith("MAX_") or name.endswith("_MEMORY")} - OF_WORKERS
    assert {name for name in bounding if not any(f"`{name}`" in line for line in lines)} == set()
    for begin, bound in (
        ("LoRAs", f"{MOST_LORAS}"),
        ("weight and `text_weight` of a LoRA", f"-{LARGEST_WEIGHT} to {LARGEST_WEIGHT}"),
        ("ControlNets", f"{MOST_CONTROLS}"),
        ("weight of a ControlNet", f"0 to {MOST_WEIGHT:g}"),
        ("pixels that `expand` adds", f"{MOST_EXPANDED:,}"),
    ):
        (line,) = (line for line in lines if line.startswith(f"| {begin}") and "API" in line)
        assert line.endswith(f"| {bound} |"), line


def test_every_part_of_a_job_s_cost_is_listed() -> None:
    """Given what `shared/request/cost.py` counts, then the table of `docs/limits.md` has the same numbers."""
    listed = {cells[0]: cells[1] for cells in _entries(DOCS / "limits.md", "The cost of a job")}
    assert listed["denoising in one pass"] == "steps x width x height x images"
    assert "both x images" in listed["denoising in two passes (`hires`)"]
    assert listed["ControlNets"].startswith(f"{cost._SHARE_OF_A_CONTROLNET} of the denoising")
    assert listed["a network between two passes"].startswith(f"{cost._PIXEL_STEPS_AN_UPSCALED_PIXEL} ")
    assert listed["encoding"].startswith(f"{cost._PIXEL_STEPS_A_CHUNK:,} ")
    assert f"every {cost._CHUNKS_AS_LONG_AS_A_STEP} chunks" in listed["longer text"]


@pytest.mark.parametrize("page", [page for page in TEXTS if "\n- [" in page.read_text()], ids=lambda page: page.name)
def test_a_list_of_contents_is_whole(page: Path) -> None:
    """Given a page that begins with a list of its sections, then that lists all of them, in their order."""
    text = page.read_text()
    listed = re.findall(r"^- \[[^\]]*\]\(#([^)]+)\)$", text, re.MULTILINE)
    sections = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert listed in ([], [_anchor(section) for section in sections])


def test_every_error_is_listed_with_its_status() -> None:
    """Given the error tree, then `docs/clients.md` lists each error that a client can meet, with its HTTP status."""
    listed = {(int(status), code.strip("`")) for status, code, _ in _entries(DOCS / "clients.md", "Errors")}
    groups = (ServiceError, RequestError, TryLater, JobError)
    assert listed == {(STATUS[kind], kind.code) for kind in all_errors() if kind not in groups}


def test_every_endpoint_is_listed(app: Flask) -> None:
    """Given the routes of the API, then `docs/clients.md` lists each, and none that is not there."""
    tables = [_entries(DOCS / "clients.md", heading) for heading in ("Endpoints", "Endpoints for A1111")]
    calls = [call for table in tables for cells, _ in table for call in re.findall("`([^`]+)`", cells)]
    listed = {re.sub(r"<[^>]+>", "<>", call) for call in calls}
    served = {
        f"{method} {re.sub(r'<[^>]+>', '<>', rule.rule)}"
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert listed == served


def test_the_readme_is_short() -> None:
    """Given the README, then it keeps to what a newcomer needs: fewer than 250 lines."""
    assert len((REPOSITORY / "README.md").read_text().splitlines()) < 250


def test_the_first_command_is_the_one_that_make_run_prints() -> None:
    """Given the default settings, then the README's first curl line is what the launcher prints."""
    readme = (REPOSITORY / "README.md").read_text()
    assert re.findall(r"^curl .*", readme, re.MULTILINE)[0] == example_curl(Settings())


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_the_make_targets_exist(page: Path) -> None:
    """Given every `make <target>` that a page names, then the Makefile has that target."""
    makefile = (REPOSITORY / "Makefile").read_text()
    for target in set(re.findall(r"\bmake ([a-z-]+)\b(?=[`\n])", page.read_text())):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Given the links of a page to other pages and their headings, then these exist."""
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)]+))?\)", page.read_text()):
        leads_to = page.parent / target if target else page
        assert leads_to.exists(), target
        if anchor:
            assert anchor in _anchors(leads_to), f"{target}#{anchor}"


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    return {_anchor(heading) for heading in re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)}


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", [page for page in TEXTS if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_named_paths_exist(page: Path) -> None:
    """Given the files, folders and modules of the repository that a page names, then these exist."""
    code = re.findall(r"`([^`\n]+)`", page.read_text())
    paths = {path for each in code for path in _PATH.findall(each)}
    modules = {name.replace(".", "/") for each in code for name in _MODULE.findall(each)}
    paths |= {f"{module}/__main__.py" if (REPOSITORY / module).is_dir() else f"{module}.py" for module in modules}
    assert {path for path in paths if not list(REPOSITORY.glob(path))} == set()


def test_every_key_of_a_job_is_described() -> None:
    """Given the names of keys in Redis, then `docs/architecture.md` lists each with the type its docstring says."""
    listed = dict(re.findall(r"^\| `([^`]+)` \| ([a-z ]+) \|", (DOCS / "architecture.md").read_text(), re.MULTILINE))
    described = {re.sub("<[^>]+>", "<>", key): kind for key, kind in listed.items()}
    keys = Keys("")
    for name, member in vars(Keys).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            key, docstring = getattr(keys, name), member.fget.__doc__
        else:
            places = list(inspect.signature(member).parameters)[1:]
            key, docstring = member(keys, *["<>"] * len(places)), member.__doc__
        assert described.get(key) == str(docstring).partition(":")[0].lower(), key


def test_every_metric_is_described() -> None:
    """Given what `/metrics` tells, then `docs/operating.md` lists each metric and no other."""
    card = WorkerCard(name="w", variant="cpu", device="cpu", slots=1)
    told = set(re.findall(r"^# TYPE (\w+)", exposition([card], 0).decode(), re.MULTILINE))
    listed = {name.strip("`") for name, _, _ in _entries(DOCS / "operating.md", "Metrics") if "`" in name}
    assert listed == told
