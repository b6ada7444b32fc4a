"""From a sampler written as its paper has it to its plan: it runs once, on names in the place of latents."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

from worker.samplers.plan import N, P, Plan, Recorded, Terms, compiled, level_of


@dataclass(frozen=True)
class Point:
    """A request for an evaluation of the latents `x`: the model is given `scale * x`, and the timestep."""

    x: Any
    timestep: float
    scale: float


class Draw:
    """A request for a tensor of standard normal noise."""


@dataclass(frozen=True)
class Keep:
    """A request to keep a value for later steps: one register for what would else be summed anew from several."""

    value: Any


Loop = Generator[Point | Draw | Keep, Any, Any]
"""A sampler. It yields a `Point` and is sent the same latents and the model's prediction, `(x, prediction)`; it yields
a `Draw` and is sent noise; it yields a `Keep` and is sent its value; it returns the final latents. With all of these it
adds, subtracts and scales, no more."""


class WeightedSum:
    """Latents of which only the origin is known."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms

    def __add__(self, other: "WeightedSum") -> "WeightedSum":
        names = [*self.terms, *(name for name in other.terms if name not in self.terms)]
        return WeightedSum({name: self.terms.get(name, 0.0) + other.terms.get(name, 0.0) for name in names})

    def __mul__(self, factor: float) -> "WeightedSum":
        return WeightedSum({name: weight * factor for name, weight in self.terms.items()})

    __rmul__ = __mul__

    def __sub__(self, other: "WeightedSum") -> "WeightedSum":
        return self + other * -1.0

    def __truediv__(self, divisor: float) -> "WeightedSum":
        return self * (1.0 / divisor)


START = WeightedSum({"x0": 1.0})
"""The latents that a recorded sampler starts from, and evaluates first."""


def recorded_plan(loop: Loop, image_weight: float, noise_weight: float) -> Plan:
    """The plan of a sampler that was begun with `START`. Raises ValueError where it draws twice before it asks again,
    or does not evaluate `START` first. A value that is kept is for the steps after the next evaluation."""
    points: list[Point] = []
    drawn = set[int]()
    kept: dict[str, tuple[int, Terms]] = {}
    try:
        asked = next(loop)
        while True:
            number = len(points)
            if isinstance(asked, Point):
                points.append(asked)
                asked = loop.send((WeightedSum({f"x{number}": 1.0}), WeightedSum({f"p{number}": 1.0})))
            elif isinstance(asked, Keep):
                name = f"k{len(kept)}"
                kept[name] = number - 1, asked.value.terms
                asked = loop.send(WeightedSum({name: 1.0}))
            elif number - 1 in drawn:
                raise ValueError("no more than one draw of noise between two evaluations")
            else:
                drawn.add(number - 1)
                asked = loop.send(WeightedSum({f"n{number - 1}": 1.0}))
    except StopIteration as returned:
        result: WeightedSum = returned.value
    if points and points[0].x is not START:
        raise ValueError("a sampler evaluates first what it starts from")
    sums = [*(point.x for point in points), result]
    recorded = []
    for number, point in enumerate(points):
        values = {name: terms for name, (after, terms) in kept.items() if after == number}
        made = _made(number, sums[number + 1].terms, values)
        recorded.append(
            Recorded(f"x{number}", point.timestep, point.scale, number in drawn, made, level_of(point.scale))
        )
    return compiled(image_weight, noise_weight, recorded, f"x{len(points)}")


def _made(number: int, following: Terms, kept: Mapping[str, Terms]) -> Mapping[str, Terms]:
    """What may be kept after an evaluation: the next latents, the prediction, the noise, and what was asked for."""
    fresh = {f"p{number}": P, f"n{number}": N}
    return {
        **{
            made: {fresh.get(name, name): weight for name, weight in terms.items()}
            for made, terms in {f"x{number + 1}": following, **kept}.items()
        },
        **{name: {source: 1.0} for name, source in fresh.items()},
    }
