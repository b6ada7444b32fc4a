"""Models: from a folder or the hub into memory, and a cache of them with a byte budget."""

import json
import logging
import math
from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from shared.errors import ModelUnavailable
from shared.models import Catalogue, Model
from shared.settings import Settings
from worker.devices import Device
from worker.preparation import prepare
from worker.profiles import Precision, Profile
from worker.residency import Residency

log = logging.getLogger(__name__)

_TRANSFORMERS_FILE = "model"
_DIFFUSERS_FILE = "diffusion_pytorch_model"
_WEIGHTS = {"unet": _DIFFUSERS_FILE, "vae": _DIFFUSERS_FILE, "text_encoder": _TRANSFORMERS_FILE}
# exact names, so that neither pickles nor the second and third copy of the weights are fetched
_HUB_FILES = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "tokenizer/*",
    *(f"{part}/config.json" for part in _WEIGHTS),
    *(f"{part}/{stem}.safetensors" for part, stem in _WEIGHTS.items()),
]


BROKEN = (OSError, ValueError, KeyError, SafetensorError)
"""What the libraries raise for files that are missing or not what they should be."""


@dataclass(eq=False)
class Checkpoint:
    """A model in memory. The parts are the diffusers and transformers classes, in evaluation mode."""

    model: Model
    precision: Precision
    device: Device
    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler_config: Mapping[str, Any]
    residency: Residency | None = None
    """Moves the parts to the device and back; None: all are there to stay."""
    encodings: OrderedDict[Hashable, torch.Tensor] = field(default_factory=OrderedDict)
    """Text encodings made before; `families` fills it."""

    @property
    def size(self) -> int:
        """Bytes of all weights."""
        return sum(
            weight.nbytes for part in (self.unet, self.vae, self.text_encoder) for weight in part.state_dict().values()
        )

    @contextmanager
    def in_use(self, part: torch.nn.Module, keep: bool = False) -> Iterator[torch.nn.Module]:
        """`part` on the device; where parts come and go, `keep` lets the UNet stay while another is in use."""
        if self.residency is None:
            yield part
        elif part is self.unet:
            self.residency.settle(part, keep)
            yield part
        else:
            with self.residency.visit(part):
                yield part


def load_checkpoint(model: Model, folder: Path, precision: Precision, device: Device, profile: Profile) -> Checkpoint:
    """Read a model in the diffusers layout from `folder`: safetensors only, a pickle is never opened.

    What is missing or broken raises one of `BROKEN`.
    """
    # imported here: they take seconds, and only a worker that is about to load a model needs them
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()

    def part(kind: Any, name: str, dtype: torch.dtype) -> Any:
        variant = None if (folder / name / f"{_WEIGHTS[name]}.safetensors").is_file() else "fp16"
        loaded, report = kind.from_pretrained(
            str(folder),
            subfolder=name,
            use_safetensors=True,
            local_files_only=True,
            dtype=dtype,
            variant=variant,
            output_loading_info=True,
        )
        if missing := report["missing_keys"]:
            # the libraries would fill them with random numbers and go on
            raise ValueError(f"{name} lacks {len(missing)} weights, among them {min(missing)}")
        return loaded.eval().requires_grad_(False).to("cpu" if profile.offload else device.name)

    return Checkpoint(
        model=model,
        precision=precision,
        device=device,
        unet=part(UNet2DConditionModel, "unet", precision.unet),
        vae=part(AutoencoderKL, "vae", precision.others),
        text_encoder=part(CLIPTextModel, "text_encoder", precision.others),
        tokenizer=CLIPTokenizer.from_pretrained(str(folder / "tokenizer"), local_files_only=True),
        scheduler_config=json.loads((folder / "scheduler" / "scheduler_config.json").read_text()),
    )


def weights_on_disk(folder: Path) -> int:
    """The number of weights in a model folder, from the headers of its safetensors files.

    Header: https://huggingface.co/docs/safetensors, 8 bytes of length, then JSON with a shape for every tensor.
    """
    total = 0
    for name in _WEIGHTS:
        for file in sorted((folder / name).glob("*.safetensors"))[:1]:
            with file.open("rb") as stream:
                length = int.from_bytes(stream.read(8), "little")
                header = json.loads(stream.read(min(length, file.stat().st_size)))
            total += sum(math.prod(entry["shape"]) for key, entry in header.items() if key != "__metadata__")
    return total


class CheckpointCache:
    """The models in memory, least recently used first out, within `settings.model_cache_bytes`.

    The budget may be exceeded by one model, and by those in use: a request that was accepted is worth more.
    """

    def __init__(self, settings: Settings, catalogue: Catalogue, device: Device, profile: Profile) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._device = device
        self._profile = profile
        self._residency = Residency(device) if profile.offload else None
        self._loaded: OrderedDict[tuple[str, Precision], Checkpoint] = OrderedDict()

    def names(self) -> list[str]:
        """Names of the models in memory; safe from any thread."""
        return sorted({name for name, _ in self._loaded.copy()})

    def available(self) -> list[str]:
        """Names of the models whose weights are here, or may be downloaded."""
        here = self._settings.models_dir
        downloads = self._settings.allow_downloads
        return [m.name for m in self._catalogue if m.folder(here) or (downloads and m.hub_id)]

    def get(self, name: str, precision: Precision, in_use: Collection[Checkpoint]) -> Checkpoint:
        """The model, loaded if need be; `in_use` are never evicted. Raises ModelUnavailable."""
        model = self._catalogue.find(name)
        if model is None:
            raise ModelUnavailable(f"No model is called '{name}'.")
        key = (model.name, precision)
        if key not in self._loaded:
            folder = self._folder(model)
            try:
                self._make_room(weights_on_disk(folder) * precision.unet.itemsize, in_use)
                loaded = load_checkpoint(model, folder, precision, self._device, self._profile)
            except BROKEN as broken:
                log.exception("the model %s cannot be read from %s", model.name, folder)
                raise ModelUnavailable(f"The files of the model '{model.name}' are incomplete or broken.") from broken
            loaded.residency = self._residency
            prepare(loaded.unet, loaded.vae, self._device, self._profile, self._settings.torch_compile)
            self._loaded[key] = loaded
            log.info("loaded the model %s (%d MiB)", model.name, loaded.size >> 20)
        self._loaded.move_to_end(key)
        return self._loaded[key]

    def rest(self) -> None:
        """Nothing is in flight: what is on the device for the time of a run leaves it."""
        if self._residency is not None:
            self._residency.rest()

    def has_room(self, name: str, precision: Precision, in_use: Collection[Checkpoint]) -> bool:
        """Whether `get` would keep to the budget: the model is in memory, or those not in use leave enough.

        True for a model that cannot be read, so that `get` tells why.
        """
        model = self._catalogue.find(name)
        if model is None or (model.name, precision) in self._loaded:
            return True
        folder = model.folder(self._settings.models_dir)
        try:
            wanted = weights_on_disk(folder) * precision.unet.itemsize if folder else 0
        except BROKEN:
            return True
        return wanted + sum(other.size for other in set(in_use)) <= self._settings.model_cache_bytes

    def _make_room(self, wanted: int, in_use: Collection[Checkpoint]) -> None:
        for key, checkpoint in list(self._loaded.items()):
            if wanted + sum(other.size for other in self._loaded.values()) <= self._settings.model_cache_bytes:
                return
            if checkpoint not in in_use:
                del self._loaded[key]
                log.info("evicted the model %s", checkpoint.model.name)
        self._device.empty_cache()

    def _folder(self, model: Model) -> Path:
        """Where the weights lie, after a download if that is allowed."""
        if folder := model.folder(self._settings.models_dir):
            return folder
        place = self._settings.models_dir / model.name
        if not model.hub_id or not self._settings.allow_downloads:
            downloads = ", or start the worker with ALLOW_DOWNLOADS=true" if model.hub_id else ""
            raise ModelUnavailable(
                f"The weights of the model '{model.name}' are not here: put them, in the diffusers layout, into"
                f" MODELS_DIR/{model.name}{downloads}."
            )
        from huggingface_hub import snapshot_download

        # under another name until it is whole: a download cut short must be resumed, not loaded
        partial = place.with_name(f".{model.name}.partial")
        try:
            snapshot_download(model.hub_id, allow_patterns=_HUB_FILES, local_dir=partial)
            return partial.rename(place)
        except Exception as failed:  # a dozen kinds of network and hub errors, all with the same remedy
            if folder := model.folder(self._settings.models_dir):
                return folder  # another worker was faster
            log.exception("the model %s could not be downloaded", model.name)
            raise ModelUnavailable(
                f"The model '{model.name}' could not be downloaded from {model.hub_id}: try later, or put it into"
                f" MODELS_DIR/{model.name}."
            ) from failed
