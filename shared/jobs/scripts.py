"""The Lua scripts that Redis runs: each a file of `lua/`, with its keys and arguments on top.

Redis lets no script call another. So a script that needs one as a function says so in a line `-- uses: <name>`: the
named script then stands before it, as a local function of that name that takes KEYS and ARGV.
"""

import re
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).with_name("lua")
_USES = re.compile(r"^-- uses: (\w+)$", re.MULTILINE)


@cache
def script(name: str) -> str:
    """The text of the script `name`, ready for Redis."""
    text = (FOLDER / f"{name}.lua").read_text(encoding="utf-8")
    functions = [f"local {used} = function(KEYS, ARGV)\n{script(used)}end\n" for used in used_by(name)]
    return "".join(functions) + text


def used_by(name: str) -> list[str]:
    """The scripts that the script `name` uses as functions."""
    return _USES.findall((FOLDER / f"{name}.lua").read_text(encoding="utf-8"))
