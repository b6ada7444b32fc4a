"""A LoRA of a request, with what its file held when the request came."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.catalogue.models import some_of
from shared.errors import ModelUnavailable
from shared.request.adapters import Lora
from worker.adapters.layer_names import UNET
from worker.adapters.lora_file import LoraFile

_TOLD = 5
# of all that a request names. With more, a copy of the model takes less memory than their factors in a few passes: of
# a layer of SD 1.5 with 1280 inputs these are then two fifths of its weights, of a smaller layer more than all
_MOST_RANKS = 256


@dataclass(frozen=True, eq=False)
class UsedLora:
    """What a request names, and the file."""

    lora: Lora
    file: LoraFile

    @property
    def key(self) -> Hashable:
        """Equal for those that change a model in the same way; it does not keep the file in memory."""
        return self.lora, self.file.sha256

    @property
    def told(self) -> Mapping[str, Any]:
        """What a receipt says of it."""
        lora = self.lora
        return {"name": lora.name, "hash": self.file.sha256, "weight": lora.weight, "text_weight": lora.text_weight}

    def weight_in(self, network: str) -> float:
        """How strong its change of a network is."""
        return self.lora.weight if network == UNET else self.lora.text_weight

    @property
    def changes_something(self) -> bool:
        """Whether it has a weight at all."""
        return bool(self.lora.weight or self.lora.text_weight)

    def of_another_shape(self, layer: str, model: str) -> ModelUnavailable:
        """What is wrong where a layer, as the file calls it, has another shape in the model."""
        return ModelUnavailable(
            f"The LoRA '{self.lora.name}' does not fit the model '{model}': {layer} is made for a layer of another"
            " shape; use it with the kind of model that it was trained on."
        )

    def of_no_layer(self, model: str) -> ModelUnavailable:
        """What is wrong where the model has none of its layers."""
        return ModelUnavailable(
            f"The LoRA '{self.lora.name}' does not fit the model '{model}', which has none of the layers that it"
            " changes; use it with the kind of model that it was trained on."
        )


def merged_and_added(used: Sequence[UsedLora]) -> tuple[tuple[UsedLora, ...], tuple[UsedLora, ...]]:
    """Those that need a copy of the model, and those that are added in its forward passes.

    The factors of the latter travel with each item of a batch, so where they are of many ranks all need a copy.
    """
    added = tuple(each for each in used if not each.file.whole)
    if sum(each.file.rank for each in added if each.changes_something) > _MOST_RANKS:
        return tuple(each for each in used if each.changes_something), ()
    return tuple(each for each in used if each.file.whole and each.changes_something), added


def left_out(used: UsedLora, names: Sequence[str], model: str) -> tuple[str, ...]:
    """The warning for what the model has no place for, by the file's names; none without any."""
    if not names:
        return ()
    told = some_of(names, _TOLD)
    return (f"loras: of '{used.lora.name}' is left out what the model '{model}' has no place for: {told}.",)
