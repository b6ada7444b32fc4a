"""What can enlarge an image: two filters that are always here, and networks in files of the operator's folders."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from shared.catalogue.kinds import UPSCALER
from shared.catalogue.models import Catalogue, OtherFile, some_of

LANCZOS, NEAREST = "lanczos", "nearest"
FILTERS: Mapping[str, str] = MappingProxyType({LANCZOS: "Lanczos", NEAREST: "Nearest"})
"""By name, what the A1111 web UI calls them."""
_NEAR, _LONGEST_NAME = 5, 200


@dataclass(frozen=True)
class Upscaler:
    """One way to enlarge. `file` is that of a network, None of a filter; `why_not` says why it cannot be used now."""

    name: str
    label: str
    file: OtherFile | None = None

    @property
    def why_not(self) -> str:
        if self.file is None or not self.file.unusable:
            return ""
        return f"The upscaler '{self.name}' cannot be used: {self.file.shown} {self.file.unusable}."


def upscalers_of(catalogue: Catalogue) -> list[Upscaler]:
    """All upscalers: the filters, then the networks, the first of each name."""
    found = {name: Upscaler(name, label) for name, label in FILTERS.items()}
    for other in catalogue.others:
        if other.kind == UPSCALER:
            found.setdefault(other.name, Upscaler(other.name, other.name, other))
    return list(found.values())


def find_upscaler(catalogue: Catalogue, text: str) -> Upscaler | None:
    """The upscaler of that name, in any case, or of that file."""
    wanted = text.strip().casefold()
    for upscaler in upscalers_of(catalogue):
        places = (upscaler.file.shown, upscaler.file.shown.rpartition("/")[2]) if upscaler.file else ()
        if wanted in {each.casefold() for each in (upscaler.name, *places)}:
            return upscaler
    return None


def objection_to(catalogue: Catalogue, name: str, beside: Sequence[str] = ()) -> str | None:
    """What keeps the upscaler of that name from being used, as a sentence; None where nothing does.

    `beside` are further names that could be meant where the request has it.
    """
    upscaler = find_upscaler(catalogue, name)
    return unknown(catalogue, name, beside) if upscaler is None else upscaler.why_not or None


def unknown(catalogue: Catalogue, name: str, beside: Sequence[str] = ()) -> str:
    """The sentence about a name that no upscaler has: which are like it, or which there are."""
    names = [*beside, *(each.name for each in upscalers_of(catalogue))]
    folded = {each.casefold(): each for each in reversed(names)}
    wanted = name.strip().casefold()
    alike = difflib.get_close_matches(wanted, folded, n=_NEAR, cutoff=0.5) if len(wanted) <= _LONGEST_NAME else []
    told = f"like it are: {', '.join(folded[each] for each in alike)}" if alike else f"there are {some_of(names)}"
    return f"No upscaler is called so; {told}; see GET /upscalers."
