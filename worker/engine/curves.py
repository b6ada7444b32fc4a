"""All curves of an engine: one for each kind of forward pass, known from earlier processes where there is a folder."""

import logging
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from worker.engine.curve_files import CurveFiles
from worker.engine.group import Group
from worker.engine.step_times import StepTimes

log = logging.getLogger(__name__)

# each is some kilobytes
_IN_MEMORY = 256
_SHOWN = 8
# more guided requests than any device gains by, in batch items
MANY = (2,) * 64
# a time that has changed by less need not be written down again
_CHANGED = 1.1


@dataclass(frozen=True)
class Kind:
    """What a curve is of; passes of the same kind take as long on the same hardware with the same libraries."""

    model: str
    width: int
    height: int
    precision: str
    dtype: str
    tokens: int
    at_most: int | None
    threads: int

    @property
    def name(self) -> str:
        return f"{self.model} at {self.width}x{self.height}"

    def many(self) -> Sequence[int]:
        """The batch items of as many guided requests as could ever share a pass."""
        return MANY if self.at_most is None else MANY[: max(1, self.at_most // 2)]


class _Curve:
    def __init__(self, kind: Kind, known: Mapping[int, float]) -> None:
        self.kind = kind
        self.times = StepTimes(known)
        self.written = dict(known)
        self.learned_from = ["disk"] if known else []


class Curves:
    """Looked up and noted by the engine's thread; told and written by any other."""

    def __init__(self, files: CurveFiles | None = None) -> None:
        self._files = files
        self._curves: OrderedDict[tuple[Group, int], _Curve] = OrderedDict()

    def of(self, group: Group, threads: int) -> StepTimes:
        """The curve of the passes for requests of this group."""
        return self._curve(group, threads).times

    def wanted(self, group: Group, threads: int) -> int:
        """How many guided requests of this kind there should be in hand."""
        curve = self._curve(group, threads)
        return curve.times.wanted(curve.kind.many())

    def note(self, group: Group, threads: int, items: int, seconds: float, source: str = "requests") -> None:
        """A pass took so long; `source`: where its requests came from."""
        curve = self._curve(group, threads)
        curve.times.note(items, seconds)
        if source not in curve.learned_from:
            curve.learned_from.append(source)

    def optimum(self, group: Group, threads: int) -> tuple[str, int]:
        """What the curve is of, in words, and the optimal number of guided requests in a pass, as far as is known."""
        curve = self._curve(group, threads)
        return curve.kind.name, curve.times.optimum(curve.kind.many())

    def report(self) -> dict[str, Any]:
        """What `GET /workers` tells: the latest curves."""
        shown = [curve for curve in list(self._curves.values())[::-1] if curve.times.curve()][:_SHOWN]
        return {
            "curves": [
                {
                    **{name: value for name, value in asdict(curve.kind).items() if name != "dtype"},
                    "optimal_batch_size": curve.times.optimum(curve.kind.many()),
                    "learned_from": list(curve.learned_from),
                    "seconds_by_batch_items": {str(size): round(s, 6) for size, s in curve.times.curve().items()},
                }
                for curve in shown
            ],
        }

    def keep(self) -> None:
        """Write down what has changed, for the next start; may take as long as the disk does."""
        if self._files is None:
            return
        for curve in list(self._curves.values()):
            now = curve.times.curve()
            if curve.learned_from != ["disk"] and _differs(now, curve.written):
                self._files.write(asdict(curve.kind), now)
                curve.written = now

    def _curve(self, group: Group, threads: int) -> _Curve:
        key = (group._replace(added=None), threads)  # other weights take no other time
        if key not in self._curves:
            kind = _kind(group, threads)
            self._curves[key] = _Curve(kind, self._files.read(asdict(kind)) if self._files else {})
            if len(self._curves) > _IN_MEMORY:
                self._curves.popitem(last=False)
        self._curves.move_to_end(key)
        return self._curves[key]


def _kind(group: Group, threads: int) -> Kind:
    return Kind(
        model=f"{group.model} (tiling)" if group.tiling else group.model,
        width=group.width,
        height=group.height,
        precision=group.precision.word,
        dtype=str(group.precision.denoiser).removeprefix("torch."),
        tokens=group.tokens,
        at_most=group.max_batch_size,
        threads=threads,
    )


def _differs(now: Mapping[int, float], before: Mapping[int, float]) -> bool:
    return bool(now) and (
        now.keys() != before.keys() or any(abs(math.log(now[size] / before[size])) > math.log(_CHANGED) for size in now)
    )
