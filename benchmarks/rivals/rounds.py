"""Rounds of one load: every side in turn, and what is told of them."""

import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.rivals.clients import Clients, Measured
from benchmarks.rivals.loads import Load
from benchmarks.rivals.sides import OURS, Side, cpu_seconds_of_machine

_SETTLE_S = 0.3  # what a server still does once the last client has its answer


@dataclass
class Rounds:
    """What was measured of one side under one load."""

    measured: list[Measured] = field(default_factory=list)
    cpu: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    idle: list[float] = field(default_factory=list)
    """Of each turn of another side: the cores that this one kept busy."""
    others: list[float] = field(default_factory=list)
    """Of each turn of this side: the cores that programs kept busy which belong to no side, the clients among them."""

    @property
    def images_per_second(self) -> list[float]:
        return [len(each.latencies) / each.seconds for each in self.measured]

    @property
    def median_latencies(self) -> list[float]:
        return [statistics.median(each.latencies) for each in self.measured]

    def latency(self, percent: int) -> float:
        """The percentile of all rounds together, in seconds: that of the nearest rank."""
        values = sorted(latency for each in self.measured for latency in each.latencies)
        return values[-(-len(values) * percent // 100) - 1]

    def summary(self) -> dict[str, Any]:
        return {
            "images_per_second": spread(self.images_per_second),
            "latency_s": {f"p{percent}": round(self.latency(percent), 3) for percent in (50, 95)},
            "cpu_s": {role: round(statistics.median(values), 2) for role, values in self.cpu.items()},
        }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    figures = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return {name: round(figure, 3) for name, figure in figures.items()}


def run(load: Load, sides: Sequence[Side], rounds: range, clients: Clients) -> dict[str, Rounds]:
    """Every side in turn, every other round the other way about, so that none always comes first."""
    found = {side.name: Rounds() for side in sides}
    for number in rounds:
        for side in sides if number % 2 else reversed(sides):
            side.resume()
            before, begun = {each.name: each.cpu_seconds() for each in sides}, time.monotonic()
            others = cpu_seconds_of_machine()
            found[side.name].measured.append(clients.send(side.port, load.users, load.bodies(number)))
            time.sleep(_SETTLE_S)
            seconds = time.monotonic() - begun
            side.pause()
            others = cpu_seconds_of_machine() - others
            for each in sides:
                taken = {role: now - before[each.name][role] for role, now in each.cpu_seconds().items()}
                others -= sum(taken.values())
                if each is side:
                    for role, value in taken.items():
                        found[each.name].cpu[role].append(value)
                else:
                    found[each.name].idle.append(sum(taken.values()) / seconds)
            found[side.name].others.append(max(0.0, others / seconds))
    return found


def told(load: Load, found: Mapping[str, Rounds]) -> dict[str, Any]:
    """The figures of all sides, and ours against each of the others, round by round."""
    against = {
        name: _against(load, found[OURS], rounds) for name, rounds in found.items() if name != OURS and OURS in found
    }
    idle = {name: round(max(rounds.idle), 3) for name, rounds in found.items() if rounds.idle}
    others = [cores for rounds in found.values() for cores in rounds.others]
    return {
        "rounds": len(next(iter(found.values())).measured),
        "sides": {name: rounds.summary() for name, rounds in found.items()},
        "ours_against": against,
        "most_cores_while_idle": idle,
        "cores_of_other_programs": spread(others),
    }


def _against(load: Load, ours: Rounds, theirs: Rounds) -> dict[str, Any]:
    if load.users == 1:
        pairs = zip(ours.median_latencies, theirs.median_latencies, strict=True)
        return {"time": spread([here / there for here, there in pairs])}
    pairs = zip(ours.images_per_second, theirs.images_per_second, strict=True)
    return {
        "throughput": spread([here / there for here, there in pairs]),
        **{f"p{percent}": round(ours.latency(percent) / theirs.latency(percent), 3) for percent in (50, 95)},
    }
