"""The Lua scripts: each a file that says what its keys and arguments are."""

import re
import tomllib
from pathlib import Path

import pytest
import redis

from shared.jobs.scripts import FOLDER, script, used_by

ROOT = Path(__file__).parents[3]
NAMES = sorted(path.stem for path in FOLDER.glob("*.lua"))


def _head(name):
    """The comment at the top of a script, and what follows."""
    lines = (FOLDER / f"{name}.lua").read_text().splitlines()
    end = next(at for at, line in enumerate(lines) if not line.startswith("--"))
    return "\n".join(lines[:end]), "\n".join(lines[end:])


@pytest.mark.parametrize("name", NAMES)
def test_a_script_says_what_its_keys_and_arguments_are(name):
    """Given a script, when its comment is read, then each key that it uses has a line with pattern, type and content,
    and each argument one with its meaning; and none is described that it does not use."""
    comment, code = _head(name)
    assert max(map(len, comment.splitlines())) <= 120
    for kind, description in (
        ("KEYS", r"<prefix>\S+(?: \S+)* +(?:string|hash|set|sorted set|list) {2,}\S"),
        ("ARGV", r"\S"),
    ):
        used = set(re.findall(rf"\b{kind}\[(\d+)\]", code))
        described = set(re.findall(rf"^-- {kind}\[(\d+)\] +{description}", comment, re.MULTILINE))
        unnumbered = name == "commit" or re.search(rf"^-- {kind}\[\d+\] +and up", comment, re.MULTILINE)
        assert used == described or (unnumbered and used < described), kind


@pytest.mark.parametrize("name", NAMES)
def test_a_real_redis_takes_every_script(name, redis_url):
    """Given a script, with those that it uses before it, when a real Redis compiles it, then it has no objection."""
    with redis.Redis.from_url(redis_url) as client:
        assert len(client.script_load(script(name))) == 40


def test_a_script_that_is_used_stands_before_its_user():
    """Given a script that uses another as a function, when it is loaded, then the other is there under its name."""
    assert used_by("commit") == ["uncharge"]
    assert script("commit").startswith(f"local uncharge = function(KEYS, ARGV)\n{script('uncharge')}end\n")
    assert script("commit").endswith((FOLDER / "commit.lua").read_text())


def test_lua_stands_in_files_alone():
    """Given the sources of `shared`, when Lua is looked for, then no Python file has any, and each script is used."""
    sources = {path: path.read_text() for path in (ROOT / "shared").rglob("*.py")}
    assert not [path for path, text in sources.items() if "redis.call" in text]
    loaded = {name for text in sources.values() for name in re.findall(r'script\("(\w+)"\)', text)}
    assert loaded | {used for name in loaded for used in used_by(name)} == set(NAMES)


def test_an_installed_package_has_the_scripts():
    """Given the package data of the project, when its patterns are applied, then every script is among it."""
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["shared"]
    packed = {path for pattern in patterns for path in (ROOT / "shared").glob(pattern)}
    assert packed >= set(FOLDER.glob("*.lua"))
