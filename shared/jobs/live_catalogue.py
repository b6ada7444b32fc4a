"""The catalogue of an API process: what the live workers tell they have, wherever they run."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence

import redis

from shared.catalogue.models import Catalogue, Contents, Model, OtherFile
from shared.jobs.inventory import Inventory
from shared.jobs.workers import WorkerRegister

log = logging.getLogger(__name__)

_QUIET_S = 1.0


class LiveCatalogue(Catalogue):
    """The entries of this machine's `models.toml`, and before them the models of the live workers.

    Of a model that several workers tell, what one that can serve it tells counts. A default that no worker has yet is
    found once one has. While Redis is away, the models stay as they were. Safe to use from many threads.
    """

    def __init__(
        self,
        entries: Mapping[str, Model],
        default: str,
        register: WorkerRegister,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._entries = dict(entries)
        self._own = Contents.of(entries)
        self._register = register
        self._clock = clock
        self._quiet_until = 0.0
        self._latest: tuple[tuple[str, ...], Contents] = ((), self._own)
        self.default_name = default
        if default not in self._own.names:
            log.warning("DEFAULT_MODEL: '%s' is no entry of models.toml; it is one once a worker has it", default)

    def __deepcopy__(self, _: object) -> "LiveCatalogue":
        """Itself: who copies a schema for the API's document wants the same models."""
        return self

    def contents(self) -> Contents:
        """What is there now."""
        if self._clock() < self._quiet_until:
            return self._latest[1]
        try:
            cards = self._register.live()
            known = [(card.inventory, self._register.inventory(card)) for card in cards if card.inventory]
        except redis.RedisError:
            # a request asks many times, and each time would wait for Redis
            self._quiet_until = self._clock() + _QUIET_S
            return self._latest[1]
        told = {digest: inventory for digest, inventory in known if inventory is not None}
        digests = tuple(sorted(told))
        latest = self._latest
        if digests != latest[0]:
            latest = self._latest = (digests, self._joined([told[digest] for digest in digests]))
        return latest[1]

    def _joined(self, inventories: Sequence[Inventory]) -> Contents:
        models: dict[str, Model] = {}
        others: dict[str, OtherFile] = {}
        for inventory in inventories:
            for model in inventory.models:
                if model.name not in models or (models[model.name].why_not and not model.why_not):
                    models[model.name] = model
            for other in inventory.others:
                if other.shown not in others or (others[other.shown].unusable and not other.unusable):
                    others[other.shown] = other
        names = {**self._entries, **models}
        # what is its file's name on one machine may be an alias of another model on the next
        return Contents.of(names, tuple(others.values()), strict=False) if models else self._own
