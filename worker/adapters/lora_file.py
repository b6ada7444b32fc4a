"""A LoRA out of its file: which layers it changes, and how; in the names of kohya, LyCORIS, diffusers and PEFT."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from shared.catalogue.tensors import ITEM_BYTES, NotUsable
from shared.catalogue.weights_file import read_header
from worker.adapters.layer_change import Change, change_of
from worker.adapters.layer_names import network_and_layer
from worker.adapters.low_rank_change import LowRankChange
from worker.adapters.whole_change import WholeChange
from worker.models.weights_file import opened

_PIECE = 4 * 1024 * 1024
_SETTINGS = "lora_adapter_metadata"
_LARGEST_ALPHA = 1e9
_ADAPTER = r"(?:\.[^.]+)?"
# what a tensor is to its layer, by how its name ends
_ROLES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(rf"[._]?\b(?:{ending})$"), role)
    for ending, role in (
        (r"lora_down\.weight", "down"), (r"lora_up\.weight", "up"), (r"lora_mid\.weight", "mid"),
        (rf"lora_A{_ADAPTER}\.weight", "down"), (rf"lora_B{_ADAPTER}\.weight", "up"),
        (r"lora_linear_layer\.down\.weight", "down"), (r"lora_linear_layer\.up\.weight", "up"),
        (r"lora\.down\.weight", "down"), (r"lora\.up\.weight", "up"), (r"alpha", "alpha"),
        (r"dora_scale", "magnitude"), (rf"lora_magnitude_vector{_ADAPTER}(?:\.weight)?", "magnitude"),
        (r"diff|w_norm", "difference"), (r"diff_b|b_norm", "bias"), (r"on_input", "on_input"),
        (r"(?:hada|lokr)_(?:w[12](?:_[ab])?|t[12])", ""),
    )
)  # fmt: skip
_OLD = re.compile(r"^(.*\.processor\.to_[a-z]+_lora)\.(down|up)\.weight$")
_SCALED_ROWS = re.compile(r"\.weight$")  # of an (IA)^3, where `on_input` stands beside it
# what cannot be drawn with, by how the name of a tensor ends
_OTHER_KINDS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(rf"\.(?:{ending})$"), kind)
    for ending, kind in ((r"oft_blocks|oft_diag|oft_R\..*", "an OFT"), (r"[ab][12]\.weight", "a GLoRA"))
)


@dataclass(frozen=True, eq=False)
class LoraFile:
    """The changes of a file by network and layer, the latter in the spelling of `layer_paths`.

    `names` has what the file calls each of the layers; `unknown` are tensors that mean nothing here.
    """

    sha256: str
    changes: Mapping[tuple[str, str], Change]
    names: Mapping[tuple[str, str], str]
    unknown: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether it needs a copy of the model that has it merged."""
        return any(isinstance(change, WholeChange) for change in self.changes.values())

    @property
    def low_rank(self) -> Mapping[tuple[str, str], LowRankChange]:
        """The changes that can be added for some items of a batch: all but those of a copy."""
        return {key: change for key, change in self.changes.items() if isinstance(change, LowRankChange)}

    @cached_property
    def rank(self) -> int:
        """The largest of these."""
        return max((change.rank for change in self.low_rank.values()), default=0)

    @property
    def nbytes(self) -> int:
        """Bytes of all factors."""
        return sum(change.nbytes for change in self.changes.values())


def read_lora(file: Path) -> LoraFile:
    """Read, check and hash a file. Raises NotUsable, whose message completes a sentence that begins with its name."""
    header = read_header(file)
    # each tensor is read by itself, also where many have the same place
    if sum(each.count * ITEM_BYTES.get(each.dtype, 1) for each in header.tensors.values()) > file.stat().st_size:
        raise NotUsable("has the same numbers in several tensors: get another")
    settings = _settings(header.metadata.get(_SETTINGS, ""))
    with opened(file) as weights:
        layers: dict[str, dict[str, str]] = {}
        unknown = []
        for name in weights:
            if kind := next((kind for ending, kind in _OTHER_KINDS if ending.search(name)), None):
                raise NotUsable(f"is {kind}, which cannot be drawn with: get a LoRA, LoHa or LoKr instead")
            layer, role = _read_name(name)
            if role:
                layers.setdefault(layer, {})[role] = name
            else:
                unknown.append(name)
        changes: dict[tuple[str, str], Change] = {}
        names = {}
        for layer, roles in layers.items():
            tensors = {role: _finite(name, weights[name], role) for role, name in roles.items()}
            change = change_of(layer, tensors, settings.scale_of(layer) if settings else None)
            if change is None:
                unknown += roles.values()
                continue
            key = network_and_layer(layer)
            changes[key], names[key] = change, layer
        if not changes:
            raise NotUsable("changes no layer, or is of a kind that is not known here: get another")
        digest = _sha256(file)
    return LoraFile(digest, changes, names, tuple(unknown))


def _read_name(name: str) -> tuple[str, str]:
    """The layer as the file calls it, and what the tensor is to it; "" where that is not known."""
    if old := _OLD.match(name):
        return old[1], old[2]
    for ending, role in _ROLES:
        if found := ending.search(name):
            return name[: found.start()], role or found[0].lstrip("._")
    if found := _SCALED_ROWS.search(name):
        return name[: found.start()], "weight"
    return name, ""


def _finite(name: str, tensor: torch.Tensor, role: str) -> torch.Tensor:
    if role in ("alpha", "on_input"):
        return tensor
    if not tensor.is_floating_point():
        raise NotUsable(f"has whole numbers as {name}: get another")
    # some types of 8 bits know no such question
    if not tensor.float().isfinite().all():
        raise NotUsable(f"has values that are no numbers (NaN) in {name}: get another")
    # PEFT's are those of the outputs, in whatever shape
    return tensor.flatten() if "lora_magnitude_vector" in name else tensor


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


@dataclass(frozen=True)
class _Settings:
    """How strong the layers of a file of diffusers are, where it says so beside its tensors: those of each network."""

    by_network: Mapping[str, Mapping[str, Any]]

    def scale_of(self, layer: str) -> Callable[[int], float] | None:
        """What the layer's change is multiplied by, given its rank; None where nothing is said."""
        network, _, path = layer.partition(".")
        said = self.by_network.get(network)
        if not said:
            return None
        patterns = said.get("alpha_pattern") or {}
        own = next((alpha for end, alpha in patterns.items() if path == end or path.endswith(f".{end}")), None)
        alpha = said.get("lora_alpha") if own is None else own
        if not isinstance(alpha, int | float) or not -_LARGEST_ALPHA <= alpha <= _LARGEST_ALPHA:
            raise NotUsable(f"says that alpha is {str(alpha)[:20]} for {layer}, which is no number: get another")
        if said.get("use_rslora"):
            return lambda rank: alpha / math.sqrt(rank)
        return lambda rank: alpha / rank


def _settings(text: str) -> _Settings | None:
    """Raises NotUsable where what is said cannot be read."""
    if not text:
        return None
    try:
        said: Any = json.loads(text)
        by_network: dict[str, dict[str, Any]] = {}
        for name, value in said.items():
            network, _, what = name.partition(".")
            by_network.setdefault(network, {})[what] = value
        for network, values in by_network.items():
            if not isinstance(values.get("alpha_pattern") or {}, dict):
                raise ValueError(network)
    except (ValueError, AttributeError, RecursionError) as broken:
        raise NotUsable(f"says of its layers ({_SETTINGS}) what cannot be read: fetch it again") from broken
    return _Settings(by_network)
