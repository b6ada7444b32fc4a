"""The register of live workers: each renews a short-lived key, so a dead one vanishes by itself."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class WorkerCard:
    """What one worker process says of itself. `missing_models`: those it cannot serve, each with the reason."""

    name: str
    variant: str
    device: str
    slots: int
    warm_models: tuple[str, ...] = ()
    available_models: tuple[str, ...] = ()
    missing_models: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        values = json.loads(text)
        lists = {key: tuple(values[key]) for key in ("warm_models", "available_models")}
        return cls(**{**values, **lists})

    def serves(self, variant: str) -> bool:
        """Whether this worker takes requests for that variant (`any`, `standard` or `optimized`)."""
        return variant in ("any", self.variant) or self.variant == "cpu"


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
