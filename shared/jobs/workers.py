"""The register of live workers: each renews its entry for a while, so a dead one vanishes by itself."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from shared.histograms import Series
from shared.jobs.scripts import script
from shared.lately import Lately
from shared.variants import VARIANTS


@dataclass(frozen=True)
class WorkerCard:
    """What one worker process says of itself.

    `missing_models`: those it cannot serve, each with the reason. `tasks`: how many it has in hand, `room`: how many it
    would take at most now. `free_memory`: bytes on its device, None where that is not known. `batching`:
    the times from which it knows its optimal batch sizes. `histograms`: what it has measured, by `Histogram.name`.
    """

    name: str
    variant: str
    device: str
    slots: int
    warm_models: tuple[str, ...] = ()
    available_models: tuple[str, ...] = ()
    missing_models: Mapping[str, str] = field(default_factory=dict)
    tasks: int = 0
    room: int = 1
    free_memory: int | None = None
    batching: Mapping[str, Any] = field(default_factory=dict)
    histograms: Mapping[str, Sequence[Series]] = field(default_factory=dict)

    @property
    def load(self) -> float:
        """How much of what it would take it has in hand: 0 is idle, 1 is full."""
        return self.tasks / self.room

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        known = {each.name for each in fields(cls)}  # a newer worker may say more
        values = {name: value for name, value in json.loads(text).items() if name in known}
        lists = {key: tuple(values[key]) for key in ("warm_models", "available_models")}
        histograms = {
            name: tuple(Series(each["labels"], each["counts"], each["sum"]) for each in series)
            for name, series in values.get("histograms", {}).items()
        }
        return cls(**{**values, **lists, "histograms": histograms})

    def serves(self, variant: str) -> bool:
        """Whether this worker takes requests for that variant (`any`, `standard` or `optimized`)."""
        known = VARIANTS.get(self.variant)  # a newer worker may be of another
        return known is not None and variant in known.serves


class WorkerRegister:
    """Cards of the live workers in Redis. Every method may raise `redis.RedisError`."""

    def __init__(
        self,
        client: Any,
        prefix: str,
        ttl_s: float,
        cache_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`cache_s`: for how many seconds `live` may tell what it told before, without asking Redis."""
        self._redis = client
        self._keys = [f"{prefix}workers:until", f"{prefix}workers:cards"]
        self._ttl_ms = int(ttl_s * 1000)
        self._announce = client.register_script(script("announce_worker"))
        self._live = client.register_script(script("live_workers"))
        self._lately = Lately(self._read, cache_s, clock)

    def announce(self, card: WorkerCard) -> None:
        """Say that this worker lives, for the register's time to live."""
        self._announce(keys=self._keys, args=[card.name, card.to_json(), self._ttl_ms])

    def leave(self, name: str) -> None:
        with self._redis.pipeline() as pipe:
            pipe.zrem(self._keys[0], name)
            pipe.hdel(self._keys[1], name)
            pipe.execute()

    def live(self) -> tuple[WorkerCard, ...]:
        """The cards of all live workers, by name."""
        return self._lately.get()

    def _read(self) -> tuple[WorkerCard, ...]:
        return tuple(sorted(map(WorkerCard.from_json, self._live(keys=self._keys)), key=lambda card: card.name))
