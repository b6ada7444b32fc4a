"""The variants: what kinds of worker there are, which requests each takes, and through which queue.

A request asks for a variant with its field `type`; without one, any worker may take it. This is the only table of
them. What a variant does with a device's memory is the worker's own affair (`worker/hardware/variants.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

ANY = "any"


@dataclass(frozen=True)
class Variant:
    """`queue`: the queue of the requests for this variant; None: no request asks for it.

    `serves`: which requests its workers take, by the variant these ask for; empty: no worker is of this variant.
    """

    queue: str | None
    serves: tuple[str, ...]


VARIANTS: Mapping[str, Variant] = MappingProxyType({
    ANY: Variant("images.any", ()),
    "standard": Variant("images.standard", (ANY, "standard")),
    "optimized": Variant("images.optimized", (ANY, "optimized")),
    "cpu": Variant(None, (ANY, "standard", "optimized")),
})  # fmt: skip

QUEUES: Mapping[str, str] = MappingProxyType({
    name: variant.queue for name, variant in VARIANTS.items() if variant.queue is not None
})  # fmt: skip
"""The queue of each variant that a request can be for."""

WORKER_VARIANTS = tuple(name for name, variant in VARIANTS.items() if variant.serves)
"""What a worker can be."""

REQUEST_TYPES = tuple(name for name in WORKER_VARIANTS if name in QUEUES)
"""What the request field `type` may be."""
