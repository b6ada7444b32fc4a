"""A copy of a model with LoRAs merged into its weights: for those that cannot be added in a forward pass."""

from collections.abc import Hashable, Sequence
from typing import Any

import torch

from worker.adapters.layer_change import Change
from worker.adapters.layer_names import UNET, layer_paths
from worker.adapters.used_lora import UsedLora, left_out, merged_and_added
from worker.models.checkpoint import Parts


class Merged:
    """What a request wants merged. Equal in `key` for requests that can share the copy."""

    def __init__(self, used: tuple[UsedLora, ...]) -> None:
        self._used = used
        self.key: Hashable = tuple(each.key for each in used)

    def merge(self, parts: Parts, model: str) -> tuple[str, ...]:
        """Change the weights of parts, just read, in place; gives what every result is to say.

        `model` is the model's name. Raises ModelUnavailable where a LoRA does not fit; the parts are useless then.
        """
        networks = {UNET: parts.denoiser, **parts.text_encoders}
        paths = {network: layer_paths(network, module) for network, module in networks.items()}
        warnings = list[str]()
        sums: dict[tuple[str, str], _Sum] = {}
        for used in self._used:
            strange = list(used.file.unknown)
            for (network, layer), change in used.file.changes.items():
                path = paths.get(network, {}).get(layer)
                if path is None:
                    strange.append(used.file.names[network, layer])
                elif weight := used.weight_in(network):
                    added = sums.setdefault((network, path), _Sum(networks[network].get_submodule(path)))
                    added.add(change, weight, used, used.file.names[network, layer], model)
            if len(strange) == len(used.file.unknown) + len(used.file.changes):
                raise used.of_no_layer(model)
            warnings += left_out(used, strange, model)
        for added in sums.values():
            added.write()
        return tuple(warnings)


def merged_of(used: Sequence[UsedLora]) -> Merged | None:
    """What of a request's LoRAs must be merged; None where nothing must."""
    merged, _ = merged_and_added(used)
    return Merged(merged) if merged else None


class _Sum:
    """What is added to the weight and the bias of a layer; each change is that of the layer as it was read."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._sums: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def add(self, change: Change, weight: float, used: UsedLora, name: str, model: str) -> None:
        """Raises ModelUnavailable."""
        try:
            differences = dict(zip(("weight", "bias"), change.differences(self._layer.weight), strict=True))
            for which, difference in differences.items():
                if difference is None:
                    continue
                if which == "bias" and difference.numel() != self._layer.weight.shape[0]:
                    raise ValueError("it is made for a layer of another shape")
                before = self._sums.get(which)
                self._sums[which] = difference * weight if before is None else before + difference * weight
        except (AttributeError, IndexError, RuntimeError, ValueError) as broken:
            raise used.of_another_shape(name, model) from broken

    @torch.no_grad()
    def write(self) -> None:
        for which, difference in self._sums.items():
            own = getattr(self._layer, which)
            if own is None:
                own = torch.zeros_like(difference, dtype=self._layer.weight.dtype, device=self._layer.weight.device)
            made = own.float() + difference.to(own.device)
            setattr(self._layer, which, torch.nn.Parameter(made.to(own.dtype), requires_grad=False))
