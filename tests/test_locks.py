"""The lists of exact versions: they fit pyproject.toml, and everything in them is pinned and hashed."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = {
    "client/requirements-dev.txt": ("api", "worker", "client", "embedded", "mcp", "s3", "dev"),
    "client/requirements-run.txt": ("api", "worker", "client"),
    "client/requirements-embedded.txt": ("embedded",),
    "api/requirements.txt": ("api", "s3"),
    "worker/requirements.txt": ("worker", "s3"),
}
_ENTRY = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)(?:\s*;\s*(?P<marker>[^\\\n]+?))?\s*\\?$")


def entries(file: str) -> dict[str, list[Version]]:
    """The versions by library; a library may have several, each for some Pythons or systems."""
    found: dict[str, list[Version]] = {}
    for line in (ROOT / file).read_text().splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            entry = _ENTRY.match(line)
            assert entry, f"{file}: no exact version: {line}"
            if entry["marker"]:
                Marker(entry["marker"])
            found.setdefault(canonicalize_name(entry["name"]), []).append(Version(entry["version"]))
    return found


@pytest.mark.parametrize("file", LOCKS)
def test_a_list_fits_pyproject(file: str) -> None:
    """Given the extras that a list is made of, then each library of theirs is in it, in a version that they allow."""
    locked = entries(file)
    wanted = [
        *PROJECT["dependencies"],
        *(each for extra in LOCKS[file] for each in PROJECT["optional-dependencies"][extra]),
    ]
    for requirement in map(Requirement, wanted):
        versions = locked.get(canonicalize_name(requirement.name), [])
        assert versions, f"{file} lacks {requirement}: run 'make lock'"
        assert all(version in requirement.specifier for version in versions), f"{file}: {requirement}: run 'make lock'"


@pytest.mark.parametrize("file", LOCKS)
def test_every_version_has_a_hash_and_no_torch_is_among_them(file: str) -> None:
    """Given a list, then each entry has hashes, no index is named, and neither torch nor CUDA comes in through it."""
    text = (ROOT / file).read_text()
    blocks = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
    assert all("--hash=sha256:" in block for block in blocks)
    assert "index-url" not in text
    assert "://" not in text
    assert not [name for name in entries(file) if name == "torch" or name.startswith(("nvidia", "triton"))]


def test_the_lists_agree() -> None:
    """Given all lists, then a library has the same versions in each that has it."""
    whole = entries("client/requirements-dev.txt")
    for file in LOCKS:
        assert {name: versions for name, versions in entries(file).items() if whole.get(name) != versions} == {}


def test_what_torch_requires_is_named() -> None:
    """Given torch, which is installed without its requirements, then the worker's list has them all."""
    locked = entries("worker/requirements.txt")
    for text in importlib.metadata.requires("torch") or []:
        requirement = Requirement(text)
        cuda = requirement.name.startswith(("nvidia", "triton", "cuda"))
        if not cuda and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            assert any(version in requirement.specifier for version in locked[canonicalize_name(requirement.name)])
