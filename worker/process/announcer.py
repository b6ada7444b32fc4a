"""What this worker tells the register of itself, and what the other live workers tell."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from shared.catalogue.kinds import CONTROLNET, LORA, UPSCALER
from shared.catalogue.models import FOUND, Catalogue, OtherFile
from shared.jobs.inventory import Inventory
from shared.jobs.workers import WorkerCard, WorkerRegister
from shared.request.model import ImageRequest
from shared.variants import VARIANTS
from worker.engine import Engine
from worker.hardware.devices import Device
from worker.observations import Observations
from worker.upscalers.networks import why_none


class Announcer:
    """Keeps the card of one worker in the register. Safe to use from many threads at once."""

    def __init__(
        self,
        name: str,
        variant: str,
        slots: int,
        device: Device,
        catalogue: Catalogue,
        engine: Engine,
        register: WorkerRegister,
        observations: Observations,
    ) -> None:
        self._name = name
        self._variant = variant
        self._slots = slots
        self._device = device
        self._catalogue = catalogue
        self._engine = engine
        self._register = register
        self._observations = observations
        self._missing: Mapping[str, str] = {}
        self._inventory = Inventory()
        self._refreshed = 0
        self._free_memory: int | None = None
        self._others: Sequence[WorkerCard] = ()

    def look_around(self) -> None:
        """Find out what the card says of the disk and the device, which may take long, and read the others' cards.

        May raise `redis.RedisError`.
        """
        self._missing = missing = self._engine.missing_models()
        models = list(self._catalogue)
        inventory = Inventory(
            tuple(replace(model, why_not=missing.get(model.name, "")) for model in models),
            frozenset(model.name for model in models if model.source.startswith(FOUND)),
            tuple(_usable(other) for other in self._catalogue.others),
        )
        if inventory != self._inventory:
            self._inventory = inventory
        self._free_memory = self._device.free_memory()
        self._others = [card for card in self._register.live() if card.name != self._name]

    def refreshed(self, number: int) -> None:
        """Tell from now on that the request of this number to look for new models was followed."""
        self._refreshed = number

    def announce(self, tasks: int, room: int) -> None:
        """Renew the card of this worker, which has so many tasks in hand and would take so many at most.

        May raise `redis.RedisError`.
        """
        card = WorkerCard(
            name=self._name,
            variant=self._variant,
            device=self._device.name,
            slots=self._slots,
            warm_models=tuple(self._engine.warm_models()),
            refreshed=self._refreshed,
            tasks=tasks,
            room=room,
            free_memory=self._free_memory,
            batching=self._engine.batching(),
            histograms=self._observations.report(),
            remarks=tuple(self._engine.remarks()),
        )
        self._register.announce(card, self._inventory)

    def leave(self) -> None:
        """Take the card out of the register. May raise `redis.RedisError`."""
        self._register.leave(self._name)

    def others_with_room(self) -> int:
        """How many other live workers take requests that this one takes, and have room for more."""
        variants = VARIANTS[self._variant].serves
        return sum(card.load < 1 and any(map(card.serves, variants)) for card in self._others)

    def left_to_others(self, variant: str) -> Collection[str]:
        """Models that this worker lacks and another one has, so that it need not take tasks of them."""
        missing = self._missing.keys()
        if not missing:
            return ()
        return {model for card in self._others if card.serves(variant) for model in card.available_models} & missing

    def served_elsewhere(self, request: ImageRequest) -> bool:
        """Whether this worker lacks the model of a request or a file beside it, and another live worker has them all.

        May raise `redis.RedisError`.
        """
        others = (card for card in self._register.live() if card.name != self._name and card.serves(request.variant))
        networks = {(UPSCALER, name) for name in request.networks}
        if request.kind == "upscale":
            return any(all(self._has(card, *each) for each in networks) for card in others)
        params = request.params
        added = {(LORA, lora.name) for lora in params.loras} | {(CONTROLNET, each.model) for each in params.controlnet}
        here = {each for each in added if self._catalogue.find_other(*each)}
        here |= {(kind, name) for kind, name in networks if self._can_use(name)}
        added |= networks
        if params.model not in self._engine.missing_models() and here == added:
            # it should have worked here: the others would fail at it in the same way, and give it back
            return False
        return any(
            params.model in card.available_models and all(self._has(card, *each) for each in added) for card in others
        )

    def _can_use(self, upscaler: str) -> bool:
        file = self._catalogue.find_other(UPSCALER, upscaler)
        return file is not None and not _usable(file).unusable

    def _has(self, card: WorkerCard, kind: str, name: str) -> bool:
        """Whether a worker has that other file, and can read it."""
        told = self._register.inventory(card)
        return told is not None and any(
            other.kind == kind and other.name == name and not other.unusable for other in told.others
        )


def _usable(other: OtherFile) -> OtherFile:
    """The file, with the reason why this worker cannot use an upscaler, where it cannot."""
    if other.kind != UPSCALER or other.unusable:
        return other
    return replace(other, unusable=why_none())
