"""The register of live workers: each renews its entry for a while, so a dead one vanishes by itself."""

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from shared.histograms import Series
from shared.jobs.inventory import Inventory
from shared.jobs.scripts import script
from shared.lately import Lately
from shared.stored_values import known_fields
from shared.variants import VARIANTS

_INVENTORIES_KEPT = 32


@dataclass(frozen=True)
class WorkerCard:
    """What one worker process says of itself.

    `missing_models`: those it cannot serve, each with the reason. `tasks`: how many it has in hand, `room`: how many it
    would take at most now. `free_memory`: bytes on its device, None where that is not known. `batching`:
    the times from which it knows its optimal batch sizes. `histograms`: what it has measured, by `Histogram.name`.
    `inventory`: the digest of what it tells of its models beside the card. `refreshed`: the number of the last request
    to look for new models that it has followed. `remarks`: sentences for the operator about what does not work as it
    should.
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
    inventory: str = ""
    refreshed: int = 0
    remarks: tuple[str, ...] = ()

    @property
    def load(self) -> float:
        """How much of what it would take it has in hand: 0 is idle, 1 is full."""
        return self.tasks / self.room

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        values = known_fields(cls, json.loads(text))  # a newer worker may say more
        lists = {key: tuple(values.get(key, ())) for key in ("warm_models", "available_models", "remarks")}
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
        self._prefix = prefix
        self._refresh_key = f"{prefix}workers:refresh"
        self._inventories: OrderedDict[str, Inventory] = OrderedDict()
        self._announce = client.register_script(script("announce_worker"))
        self._live = client.register_script(script("live_workers"))
        self._lately = Lately(self._read, cache_s, clock)

    def announce(self, card: WorkerCard, inventory: Inventory | None = None) -> None:
        """Say that this worker lives, for the register's time to live, and what models it has.

        With an `inventory` the card itself has only those of `models.toml`: that is short, and older versions read it.
        """
        if inventory is not None:
            key, time_ms = self._inventory_key(inventory.digest), max(1, 2 * self._ttl_ms)
            if not self._redis.pexpire(key, time_ms):
                self._redis.set(key, inventory.text, px=time_ms)
            card = replace(
                card,
                available_models=tuple(name for name in inventory.available if name not in inventory.found),
                missing_models={n: why for n, why in inventory.missing.items() if n not in inventory.found},
                inventory=inventory.digest,
            )
        self._announce(keys=self._keys, args=[card.name, card.to_json(), self._ttl_ms])

    def leave(self, name: str) -> None:
        with self._redis.pipeline() as pipe:
            pipe.zrem(self._keys[0], name)
            pipe.hdel(self._keys[1], name)
            pipe.execute()

    def live(self) -> tuple[WorkerCard, ...]:
        """The cards of all live workers, by name."""
        return self._lately.get()

    def read(self) -> tuple[WorkerCard, ...]:
        """As `live`, asked anew; `live` tells the same from then on."""
        return self._lately.renewed()

    def inventory(self, card: WorkerCard) -> Inventory | None:
        """What models the worker of a card has; None where it does not tell, or no longer."""
        if not card.inventory:
            return None
        known = self._inventories.get(card.inventory)
        if known is None:
            text = self._redis.get(self._inventory_key(card.inventory))
            if text is None:
                return None
            known = self._inventories[card.inventory] = Inventory.from_text(text)
            while len(self._inventories) > _INVENTORIES_KEPT:
                self._inventories.popitem(last=False)
        return known

    def ask_to_refresh(self) -> int:
        """Ask all workers to look for new models; gives the number of this request, see `WorkerCard.refreshed`."""
        return int(self._redis.incr(self._refresh_key))

    def refresh_asked(self) -> int:
        """The number of the last such request; 0 before the first."""
        return int(self._redis.get(self._refresh_key) or 0)

    def _inventory_key(self, digest: str) -> str:
        return f"{self._prefix}workers:models:{digest}"

    def _read(self) -> tuple[WorkerCard, ...]:
        cards = sorted(map(WorkerCard.from_json, self._live(keys=self._keys)), key=lambda card: card.name)
        return tuple(self._with_models(card) for card in cards)

    def _with_models(self, card: WorkerCard) -> WorkerCard:
        inventory = self.inventory(card)
        if inventory is None:
            return card
        return replace(card, available_models=inventory.available, missing_models=inventory.missing)
