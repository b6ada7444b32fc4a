"""The register of live workers: each renews a short-lived key, so a dead one vanishes by itself."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from shared.queue import SERVED_BY


@dataclass(frozen=True)
class WorkerCard:
    """What one worker process says of itself.

    `missing_models`: those it cannot serve, each with the reason. `rows`: how many it has in hand, `room`: how many it
    would take at most now. `free_memory`: bytes on its device, None where that is not known.
    """

    name: str
    variant: str
    device: str
    slots: int
    warm_models: tuple[str, ...] = ()
    available_models: tuple[str, ...] = ()
    missing_models: Mapping[str, str] = field(default_factory=dict)
    rows: int = 0
    room: int = 1
    free_memory: int | None = None

    @property
    def load(self) -> float:
        """How much of what it would take it has in hand: 0 is idle, 1 is full."""
        return self.rows / self.room

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        known = {each.name for each in fields(cls)}  # a newer worker may say more
        values = {name: value for name, value in json.loads(text).items() if name in known}
        lists = {key: tuple(values[key]) for key in ("warm_models", "available_models")}
        return cls(**{**values, **lists})

    def serves(self, variant: str) -> bool:
        """Whether this worker takes requests for that variant (`any`, `standard` or `optimized`)."""
        return variant in SERVED_BY[self.variant]


class WorkerRegister:
    """Cards of the live workers in Redis."""

    def __init__(self, client: Any, prefix: str, ttl_s: float) -> None:
        self._redis = client
        self._prefix = f"{prefix}worker:"
        self._ttl_ms = int(ttl_s * 1000)

    def announce(self, card: WorkerCard) -> None:
        """Say that this worker lives, for the register's time to live."""
        self._redis.set(self._prefix + card.name, card.to_json(), px=self._ttl_ms)

    def leave(self, name: str) -> None:
        self._redis.delete(self._prefix + name)

    def live(self) -> list[WorkerCard]:
        """The cards of all live workers, by name."""
        keys = sorted(self._redis.scan_iter(self._prefix + "*", count=500))
        texts = self._redis.mget(keys) if keys else []
        return [WorkerCard.from_json(text) for text in texts if text]
