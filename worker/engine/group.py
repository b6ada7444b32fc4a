"""Which requests can share a forward pass."""

from collections.abc import Hashable
from typing import NamedTuple

from worker.hardware.variants import Precision
from worker.text.conditioning import Shapes


class Group(NamedTuple):
    """What the requests of a forward pass have in common. Sizes are in pixels; `shapes` are those of the conditioning.

    A model that was loaded anew is the same one; `added` is what is merged into its weights.
    """

    model: str
    precision: Precision
    width: int
    height: int
    shapes: Shapes
    max_batch_size: int | None
    added: Hashable = None
    tiling: bool = False

    @property
    def tokens(self) -> int:
        """The length of the longest sequence in the conditioning; 0 where there is none."""
        return max((shape[0] for _, shape in self.shapes if len(shape) == 2), default=0)
