"""The factors of a batch's low-rank changes, those of all its items in one tensor a part; see `low_rank`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch

from worker.acceleration.low_rank import PREFIX
from worker.acceleration.stack_memory import StackMemory


def stacked_parts(
    items: Sequence[Mapping[str, torch.Tensor]], threads: int = 0, memory: StackMemory | None = None
) -> Mapping[str, torch.Tensor]:
    """The tensors `(S, width, rank)` of all parts that any of the items has, each item's `(1, width, its rank)`.

    The ranks and parts that an item lacks are zeros. Where the items come in pairs with the same tensors, as those of
    guided requests do, and so many `threads` can share the pairs evenly, S is their number, else that of the items: a
    layer then reads each set of factors once for both. With no thread told, it is that of the items.
    """
    names = dict.fromkeys(name for item in items for name in item if name.startswith(PREFIX))
    if threads and _are_pairs(items, names) and (len(items) == 2 or len(items) // 2 % threads == 0):
        items = items[::2]
    return {name: _stacked([item.get(name) for item in items], memory or StackMemory()) for name in names}


def _are_pairs(items: Sequence[Mapping[str, torch.Tensor]], names: Iterable[str]) -> bool:
    pairs = zip(items[::2], items[1::2], strict=False)
    return len(items) % 2 == 0 and all(one.get(name) is other.get(name) for one, other in pairs for name in names)


def _stacked(tensors: Sequence[torch.Tensor | None], memory: StackMemory) -> torch.Tensor:
    there = [tensor for tensor in tensors if tensor is not None]
    if all(tensor is tensors[0] for tensor in tensors):
        return there[0].expand(len(tensors), -1, -1)
    width, rank = there[0].shape[1], max(tensor.shape[2] for tensor in there)
    whole = memory.take((len(tensors), width, rank), there[0])
    for place, tensor in enumerate(tensors):
        own = 0 if tensor is None else tensor.shape[2]
        if tensor is not None:
            whole[place, :, :own] = tensor[0]
        whole[place, :, own:] = 0
    return whole


def stack_bytes(requests: Iterable[tuple[Mapping[str, torch.Tensor], int]]) -> Iterator[int]:
    """How many bytes the stacks of a batch take at most, as it grows by each of the requests.

    A request is what is added for it, the same tensors for all its items, and how many items these are. The largest
    factors decide, for all are brought to their rank; as long as all have the same nothing is copied.
    """
    largest: dict[str, int] = {}
    different: set[tuple[int, ...]] = set()
    items = 0
    for parts, count in requests:
        items += count
        different.add(tuple(map(id, parts.values())))
        for name, tensor in parts.items():
            largest[name] = max(tensor.nbytes, largest.get(name, 0))
        yield items * sum(largest.values()) if len(different) > 1 else 0
