"""A LoRA out of its file: which layers it changes, and how; in kohya's names, those of diffusers and those of PEFT."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from shared.catalogue.tensors import NotUsable
from shared.catalogue.weights_file import read_header
from worker.adapters.layer_names import network_and_layer
from worker.adapters.low_rank_change import LowRankChange, low_rank_change
from worker.models.weights_file import opened

_PIECE = 4 * 1024 * 1024
_SETTINGS = "lora_adapter_metadata"
_LARGEST_ALPHA = 1e9
_ADAPTER = r"(?:\.[^.]+)?"
# what a tensor is to its layer, by how its name ends
_ROLES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(rf"[._]?\b{ending}$"), role)
    for ending, role in (
        (r"lora_down\.weight", "down"), (r"lora_up\.weight", "up"), (r"lora_mid\.weight", "mid"),
        (rf"lora_A{_ADAPTER}\.weight", "down"), (rf"lora_B{_ADAPTER}\.weight", "up"),
        (r"lora_linear_layer\.down\.weight", "down"), (r"lora_linear_layer\.up\.weight", "up"),
        (r"lora\.down\.weight", "down"), (r"lora\.up\.weight", "up"), (r"alpha", "alpha"),
    )
)  # fmt: skip
_OLD = re.compile(r"^(.*\.processor\.to_[a-z]+_lora)\.(down|up)\.weight$")
# what cannot be drawn with, by how the name of a tensor ends
_OTHER_KINDS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(rf"\.(?:{ending})$"), kind)
    for ending, kind in (
        (r"dora_scale|lora_magnitude_vector(?:\..*)?", "a DoRA"), (r"hada_(?:w[12]_[ab]|t[12])", "a LoHa"),
        (r"lokr_(?:w[12]|w[12]_[ab]|t2)", "a LoKr"), (r"on_input", "an (IA)^3"), (r"diff|diff_b", "a full difference"),
        (r"w_norm|b_norm", "a difference of norms"), (r"oft_blocks|oft_diag|oft_R\..*", "an OFT"),
        (r"[ab][12]\.weight", "a GLoRA"),
    )
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class LoraFile:
    """The changes of a file by network and layer, the latter in the spelling of `layer_paths`.

    `names` has what the file calls each of the layers; `unknown` are tensors that mean nothing here.
    """

    sha256: str
    changes: Mapping[tuple[str, str], LowRankChange]
    names: Mapping[tuple[str, str], str]
    unknown: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of all factors."""
        return sum(change.nbytes for change in self.changes.values())


def read_lora(file: Path) -> LoraFile:
    """Read, check and hash a file. Raises NotUsable, whose message completes a sentence that begins with its name."""
    settings = _settings(read_header(file).metadata.get(_SETTINGS, ""))
    with opened(file) as weights:
        layers: dict[str, dict[str, str]] = {}
        unknown = []
        for name in weights:
            if kind := next((kind for ending, kind in _OTHER_KINDS if ending.search(name)), None):
                raise NotUsable(f"is {kind}, which is not drawn with yet: use a LoRA of plain factors")
            layer, role = _read_name(name)
            if role:
                layers.setdefault(layer, {})[role] = name
            else:
                unknown.append(name)
        changes, names = {}, {}
        for layer, roles in layers.items():
            if set(roles) == {"alpha"}:
                unknown.append(roles["alpha"])
                continue
            key = network_and_layer(layer)
            tensors = {role: _finite(name, weights[name], role) for role, name in roles.items()}
            changes[key] = low_rank_change(layer, tensors, settings.scale_of(layer) if settings else None)
            names[key] = layer
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
            return name[: found.start()], role
    return name, ""


def _finite(name: str, tensor: torch.Tensor, role: str) -> torch.Tensor:
    if role != "alpha" and not tensor.is_floating_point():
        raise NotUsable(f"has whole numbers as {name}: get another")
    # some types of 8 bits know no such question
    if role != "alpha" and not tensor.float().isfinite().all():
        raise NotUsable(f"has values that are no numbers (NaN) in {name}: get another")
    return tensor


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
