"""A sampler's run as a table of numbers.

Every sampler of the table but one is linear: what it does with its latents, the model's predictions and the noise it
draws are weighted sums, and the weights are known before the run. A plan holds them as a short recurrence over a few
registers of the latents' shape: per evaluation what the model is asked, and how the registers are rewritten with its
prediction. So requests of different samplers, steps and places in their run are advanced together.
"""

import io
import itertools
import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

PREDICTION = -1
NOISE = -2
"""Sources of an update beside the registers, which are numbered from 0."""

X = 0
"""The register with the latents that are evaluated next; after the last evaluation it holds the result."""

Pattern = tuple[tuple[int, tuple[int, ...]], ...]
"""For each register that is written the sources that are summed."""


Level = tuple[float, float]
"""Weights of a clean image and of standard normal noise."""

CLEAN: Level = (1.0, 0.0)


def level_of(scale: float) -> Level:
    """That of `x0 + sigma * n`, which the model is given `scale` times, `1 / sqrt(sigma^2 + 1)`."""
    return 1.0, math.sqrt(max(0.0, 1 / scale**2 - 1))


@dataclass(frozen=True)
class Evaluation:
    """One forward pass and what follows it.

    The model is given `scale` times register X, and `timestep` (which may be fractional). Then every register of
    `pattern` becomes the sum of its sources, all read before any is written; `weights` has one number for each source,
    in the order of the pattern. `draws` tells whether a tensor of noise is taken from the stream, used or not. `level`
    is what register X holds of a clean image and of the noise over it, where it is that image at this noise level.
    """

    timestep: float
    scale: float
    pattern: Pattern
    weights: tuple[float, ...]
    draws: bool
    level: Level = CLEAN

    def rows(self) -> Mapping[int, Mapping[int, float]]:
        """Weights by source, for each register that is written."""
        weights = iter(self.weights)
        return {target: {source: next(weights) for source in sources} for target, sources in self.pattern}


@dataclass(frozen=True)
class BrownianPath:
    """Noise whose draws belong to spans of one Brownian motion, from `low` to `high`: one `(from, to)` a draw."""

    low: float
    high: float
    spans: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Plan:
    """A whole run. It starts with register X at `image_weight * image + noise_weight * noise`.

    `registers` is how many there are. `path` tells where its noise comes from; None: independent normal draws.
    """

    image_weight: float
    noise_weight: float
    registers: int
    evaluations: tuple[Evaluation, ...]
    path: BrownianPath | None = None

    def __str__(self) -> str:
        """A table that can be followed by hand: x, a, b, ... are the registers, p the prediction, n the noise."""
        table = Table("pass", "timestep", "model is given", "then", title=self._title())
        for number, evaluation in enumerate(self.evaluations, 1):
            then = "\n".join(
                f"{_name(target)} = " + _sum({_name(source): weight for source, weight in row.items()})
                for target, row in evaluation.rows().items()
            )
            table.add_row(str(number), f"{evaluation.timestep:g}", f"{evaluation.scale:.6g} x", then)
        text = io.StringIO()
        Console(file=text, width=100).print(table)
        return text.getvalue()

    def _title(self) -> str:
        return "x = " + _sum({"image": self.image_weight, "noise": self.noise_weight})


def _name(source: int) -> str:
    return {X: "x", PREDICTION: "p", NOISE: "n"}.get(source) or chr(ord("a") + source - 1)


def _sum(terms: Mapping[str, float]) -> str:
    return " + ".join(f"{weight:.6g} {name}" for name, weight in terms.items() if weight).replace("+ -", "- ") or "0"


Terms = Mapping[str, float]
"""A weighted sum of named values; `p` is the prediction just made and `n` the noise just drawn."""

P, N = "p", "n"


@dataclass(frozen=True)
class Recorded:
    """An evaluation as it was seen: of the value `point`; afterwards the `values` are made, the next point among them,
    from values that were there before."""

    point: str
    timestep: float
    scale: float
    draws: bool
    values: Mapping[str, Terms] = field(default_factory=dict)
    level: Level = CLEAN


def compiled(
    image_weight: float,
    noise_weight: float,
    recorded: Sequence[Recorded],
    result: str,
    path: BrownianPath | None = None,
) -> Plan:
    """The plan of a recorded run that ends with the value `result`.

    Values that nothing comes of are left out, and each of the others is in a register from when it is made until its
    last use. Raises ValueError for a run without an evaluation.
    """
    if not recorded:
        raise ValueError("a sampler that never asks the model makes nothing")
    needed = _needed_after(recorded, result)
    points = [*(step.point for step in recorded), result]
    registers = _Registers(points[0])
    evaluations = []
    for step, following, still_needed in zip(recorded, points[1:], needed, strict=True):
        rows = registers.rewritten(step, following, still_needed)
        pattern = tuple((target, tuple(row)) for target, row in rows.items())
        weights = tuple(weight for row in rows.values() for weight in row.values())
        evaluations.append(Evaluation(step.timestep, step.scale, pattern, weights, step.draws, step.level))
    return Plan(image_weight, noise_weight, registers.count, tuple(evaluations), path)


class _Registers:
    """Which value is in which register, from one evaluation to the next."""

    def __init__(self, first: str) -> None:
        self.count = 1
        self._places = {first: X}

    def rewritten(self, step: Recorded, following: str, needed: Set[str]) -> Mapping[int, Mapping[int, float]]:
        """The weights by source, for each register that the update of `step` writes.

        `following` is evaluated next, and what is not in `needed` gives its register up.
        """
        before = {**self._places, P: PREDICTION, N: NOISE}
        self._places = {name: place for name, place in self._places.items() if name in needed}
        rows: dict[int, Mapping[int, float]] = {}
        if step.point in self._places:  # the next point takes its register
            rows[self._settle(step.point)] = {X: 1.0}
        for name, terms in step.values.items():
            if name in needed:
                place = X if name == following else self._settle(name)
                self._places[name] = place
                sources = {before[part]: weight for part, weight in terms.items() if weight}
                rows[place] = dict(sorted(sources.items(), key=lambda item: (item[0] < 0, abs(item[0]))))
        return dict(sorted(rows.items()))

    def _settle(self, name: str) -> int:
        self._places.pop(name, None)
        taken = {X, *self._places.values()}
        place = next(place for place in itertools.count() if place not in taken)
        self._places[name] = place
        self.count = max(self.count, place + 1)
        return place


def _needed_after(recorded: Sequence[Recorded], result: str) -> list[set[str]]:
    """For each evaluation the values that are used after its update."""
    needed, after = {result}, []
    for step in reversed(recorded):
        after.append(set(needed))
        made = {name: terms for name, terms in step.values.items() if name in needed}
        needed -= made.keys()
        needed |= {part for terms in made.values() for part, weight in terms.items() if weight and part not in (P, N)}
        needed.add(step.point)
    return after[::-1]
