"""The latents of the running requests, on the device, and the operation that takes a batch of them a step further."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch

from worker.hardware.devices import Device
from worker.samplers import NOISE, PREDICTION, Evaluation, Kept, Level, Pattern, X

_FIRST_SLOTS = 4


class Latents:
    """Registers of requests whose latents have one shape `(C, h, w)`: float32, a slot for each request.

    Reads and writes are queued on the device in their order. Used on the engine's thread alone.
    """

    def __init__(self, shape: Sequence[int], device: Device) -> None:
        self._device = device
        self._values = torch.empty((1, _FIRST_SLOTS, *shape), device=device.name)
        self._taken = set[int]()

    def __len__(self) -> int:
        return len(self._taken)

    def add(self, latents: torch.Tensor, registers: int) -> int:
        """A slot with so many registers, the first of them the `latents` `(1, C, h, w)`."""
        slot = next(number for number in range(len(self._taken) + 1) if number not in self._taken)
        have, slots = self._values.shape[:2]
        if registers > have or slot >= slots:
            more = (max(registers, have), slots if slot < slots else 2 * slots)
            values = self._values.new_empty((*more, *self._values.shape[2:]))
            values[:have, :slots] = self._values
            self._values = values
        self._taken.add(slot)
        self._values[X, slot] = latents[0]
        return slot

    def remove(self, slot: int) -> None:
        """The slot is free; what was in it is read no more."""
        self._taken.discard(slot)

    def read(self, slots: Sequence[int], register: int = X) -> torch.Tensor:
        """The values in a register of these slots, `(B, C, h, w)`; not to be written, and true until the next write."""
        return self._values[register, self._where(slots)]

    def write(self, slots: Sequence[int], values: torch.Tensor, register: int = X) -> None:
        """Put `(B, C, h, w)` into a register of these slots."""
        self._values[register, self._where(slots)] = values

    def advance(
        self,
        slots: Sequence[int],
        evaluations: Sequence[Evaluation],
        predictions: torch.Tensor,
        noise: Mapping[int, torch.Tensor],
    ) -> None:
        """Rewrite the registers of all slots as their evaluations say, those of equal patterns in one go.

        `predictions` is `(B, C, h, w)`; `noise` has, for each place in the batch whose evaluation wants it,
        `(1, C, h, w)` on the CPU. Every operation is on each element alone: a slot's result does not depend on others.
        """
        by_pattern: defaultdict[Pattern, list[int]] = defaultdict(list)
        for place, evaluation in enumerate(evaluations):
            by_pattern[evaluation.pattern].append(place)
        for pattern, places in by_pattern.items():
            some = [slots[place] for place in places]
            weights = self._device.tensor([evaluations[place].weights for place in places])
            sources = {source: self.read(some, source) for _, sources in pattern for source in sources if source >= X}
            sources[PREDICTION] = predictions if len(places) == len(slots) else predictions[self._index(places)]
            if any(NOISE in row for _, row in pattern):
                sources[NOISE] = self._device.send(torch.cat([noise[place] for place in places]))
            rows, column = {}, 0
            for target, row in pattern:
                end = column + len(row)
                rows[target] = _weighted_sum([sources[source] for source in row], weights[:, column:end])
                column = end
            for target, values in rows.items():
                self.write(some, values, target)

    def put_back(self, slots: Sequence[int], kept: Sequence[Kept], levels: Sequence[Level]) -> None:
        """Where images stay, register X of these slots becomes those images at these noise levels."""
        image, noise, mask = (
            torch.cat(parts) for parts in zip(*((one.image, one.noise, one.mask) for one in kept), strict=True)
        )
        stays = _weighted_sum([image, noise], self._device.tensor(list(levels)))
        self.write(slots, torch.where(mask, self.read(slots), stays))

    def _where(self, slots: Sequence[int]) -> slice | torch.Tensor:
        """Neighbours are read and written where they are."""
        if list(slots) == list(range(slots[0], slots[0] + len(slots))):
            return slice(slots[0], slots[0] + len(slots))
        return self._index(slots)

    def _index(self, places: Sequence[int]) -> torch.Tensor:
        return self._device.tensor(places)


def _weighted_sum(terms: Sequence[torch.Tensor], weights: torch.Tensor) -> torch.Tensor:
    """`(B, C, h, w)` each, and weights `(B, terms)`."""
    columns = [weights[:, number].view(-1, 1, 1, 1) for number in range(len(terms))]
    total = terms[0] * columns[0]
    for term, column in zip(terms[1:], columns[1:], strict=True):
        total.addcmul_(term, column)
    return total
