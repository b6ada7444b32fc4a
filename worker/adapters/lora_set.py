"""The LoRAs of a request, fitted to a model: the factors of all of them as the tensors that travel with its items."""

from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch

from shared.errors import ModelUnavailable
from worker.acceleration.low_rank import LowRankLayers
from worker.adapters.layer_names import UNET, layer_paths
from worker.adapters.low_rank_change import LowRankChange
from worker.adapters.used_lora import UsedLora, left_out, merged_and_added
from worker.models.checkpoint import NO_LAYERS, Checkpoint

NamedTensors = Mapping[str, torch.Tensor]

# ranks come in few sizes, so that few passes differ: a power of two, and not less
_LEAST_RANK = 4
# of the sets of a model that no request needs at the moment
_KEPT_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class LoraSet:
    """What a request adds to a model. `items` travel with its batch items, `beforehand` is for its texts' projection,
    and `encoders` for each text encoder by name; `text_key` tells apart what changes these, without keeping files."""

    items: NamedTensors = field(default_factory=dict)
    beforehand: NamedTensors = field(default_factory=dict)
    encoders: Mapping[str, NamedTensors] = field(default_factory=dict)
    text_key: Hashable = ()
    warnings: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        networks = (self.items, self.beforehand, *self.encoders.values())
        return sum(tensor.nbytes for tensors in networks for tensor in tensors.values())

    @contextmanager
    def encoding(self, checkpoint: Checkpoint) -> Iterator[None]:
        """Change the text encoders meanwhile, for the calling thread."""
        with ExitStack() as stack:
            for network, tensors in self.encoders.items():
                if layers := checkpoint.low_rank(network):
                    stack.enter_context(layers.applied(tensors))
            before, checkpoint.encoded_for = checkpoint.encoded_for, self.text_key
            stack.callback(setattr, checkpoint, "encoded_for", before)
            yield

    @contextmanager
    def projecting(self, checkpoint: Checkpoint) -> Iterator[None]:
        """Change meanwhile what the denoiser computes of a text beforehand, for the calling thread."""
        layers = checkpoint.low_rank(UNET)
        if layers is None or not self.beforehand:
            yield
            return
        with layers.applied(self.beforehand):
            yield


def fitted(used: Sequence[UsedLora], checkpoint: Checkpoint) -> LoraSet:
    """The set of these LoRAs for a model in memory, one for all requests under way that have the same.

    Those that are merged into the model are not in it.

    Raises ModelUnavailable where a LoRA does not fit.
    """
    _, added = merged_and_added(used)
    if not added:
        return LoraSet()
    key = tuple(each.key for each in added)
    known: LoraSet | None = checkpoint.fitted.get(key)
    if known is None:
        known = checkpoint.fitted[key] = _fitted(added, checkpoint)
    _keep(checkpoint.fitted_lately, key, known)
    # a twin of the model has layers of its own
    for network in (UNET, *known.encoders):
        if layers := checkpoint.low_rank(network):
            layers.listen()
    return known


def bytes_to_fit(used: Sequence[UsedLora], checkpoint: Checkpoint) -> int:
    """How many bytes `fitted` is going to take; 0 where it has them already, or where a LoRA does not fit."""
    _, added = merged_and_added(used)
    if not added or tuple(each.key for each in added) in checkpoint.fitted:
        return 0
    try:
        by_network = _weighted([_fitting(each, checkpoint) for each in added], checkpoint)
    except ModelUnavailable:
        return 0  # to be told by `fitted`
    return sum(
        layers.widths[part] * rank * _dtype(network, layers, checkpoint).itemsize
        for network, (layers, by_path) in by_network.items()
        for part, rank in _ranks(layers, by_path).items()
    )


def _keep(kept: OrderedDict[Hashable, LoraSet], key: Hashable, used: LoraSet) -> None:
    """The next request with the same need not wait; what is large is made anew all the same."""
    kept[key] = used
    kept.move_to_end(key)
    while kept and sum(each.nbytes for each in kept.values()) > _KEPT_BYTES:
        kept.popitem(last=False)


def _fitted(used: Sequence[UsedLora], checkpoint: Checkpoint) -> LoraSet:
    of_denoiser = checkpoint.low_rank(UNET)
    if of_denoiser is None:
        raise ModelUnavailable(NO_LAYERS)
    fitting = [_fitting(each, checkpoint) for each in used]
    tensors: dict[str, dict[str, torch.Tensor]] = {}
    for network, (layers, by_path) in _weighted(fitting, checkpoint).items():
        dtype, made = _dtype(network, layers, checkpoint), _tensors(layers, by_path)
        tensors[network] = {part: checkpoint.device.send(whole.to(dtype)) for part, whole in made.items()}
    of_unet = tensors.pop(UNET, {})
    beforehand = of_denoiser.beforehand
    return LoraSet(
        {part: tensor for part, tensor in of_unet.items() if part not in beforehand},
        {part: tensor for part, tensor in of_unet.items() if part in beforehand},
        tensors,
        tuple(
            (each.used.file.sha256, each.used.lora.text_weight)
            for each in fitting
            if any(network in each.changes for network in tensors)
        ),
        tuple(warning for each in fitting for warning in each.warnings),
    )


@dataclass(frozen=True)
class _Fitting:
    """The changes of a LoRA by network and by the path of the layer there."""

    used: UsedLora
    changes: Mapping[str, Mapping[str, Sequence[LowRankChange]]]
    warnings: tuple[str, ...]


def _fitting(used: UsedLora, checkpoint: Checkpoint) -> _Fitting:
    file, model = used.file, checkpoint.model.name
    changes: dict[str, dict[str, list[LowRankChange]]] = {}
    strange = list(file.unknown)
    for (network, layer), change in file.low_rank.items():
        layers = checkpoint.low_rank(network)
        path = _paths(checkpoint, network, layers).get(layer) if layers else None
        place = layers.places.get(path) if layers and path else None
        if place is None or path is None:
            strange.append(file.names[network, layer])
            continue
        if not change.fits(place.inputs, place.outputs, place.kernel):
            raise used.of_another_shape(file.names[network, layer], model)
        changes.setdefault(network, {}).setdefault(path, []).append(change)
    if not changes:
        raise used.of_no_layer(model)
    return _Fitting(used, changes, left_out(used, strange, model))


def _paths(checkpoint: Checkpoint, network: str, layers: LowRankLayers) -> Mapping[str, str]:
    known = checkpoint.layer_paths
    if network not in known:
        known[network] = layer_paths(network, layers.network)
    return known[network]


_ByPath = Mapping[str, Sequence[tuple[LowRankChange, float]]]
"""The changes of each layer, with their weights."""


def _weighted(fitting: Sequence[_Fitting], checkpoint: Checkpoint) -> Mapping[str, tuple[LowRankLayers, _ByPath]]:
    """What of each network is changed; without those where nothing is."""
    found: dict[str, tuple[LowRankLayers, _ByPath]] = {}
    for network in (UNET, *checkpoint.parts.text_encoders):
        by_path: dict[str, list[tuple[LowRankChange, float]]] = {}
        for each in fitting:
            if weight := each.used.weight_in(network):
                for path, several in each.changes.get(network, {}).items():
                    by_path.setdefault(path, []).extend((change, weight) for change in several)
        layers = checkpoint.low_rank(network)
        if by_path and layers is not None:
            found[network] = layers, by_path
    return found


def _dtype(network: str, layers: LowRankLayers, checkpoint: Checkpoint) -> torch.dtype:
    return checkpoint.denoiser_dtype if network == UNET else layers.dtype


def _ranks(layers: LowRankLayers, by_path: _ByPath) -> Mapping[str, int]:
    """That of the tensor of each part: those of several changes of a layer come one after the other."""
    ranks: dict[str, int] = {}
    for path, scaled in by_path.items():
        part = layers.places[path].part
        ranks[part] = max(ranks.get(part, _LEAST_RANK), sum(change.rank for change, _ in scaled))
    return {part: 1 << (rank - 1).bit_length() for part, rank in ranks.items()}


def _tensors(layers: LowRankLayers, by_path: _ByPath) -> Mapping[str, torch.Tensor]:
    """The factors of each part, `(1, width, rank)`, float32."""
    wholes = {part: torch.zeros(1, layers.widths[part], rank) for part, rank in _ranks(layers, by_path).items()}
    for path, scaled in by_path.items():
        place = layers.places[path]
        down, up = place.factors(wholes[place.part])
        begin = 0
        for change, weight in scaled:
            end = begin + change.rank
            down[0, :, begin:end] = change.down.T
            up[0, :, begin:end] = change.up.float() * (change.scale * weight)
            begin = end
    return wholes
