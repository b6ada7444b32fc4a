"""Models: from a folder, a single file or the hub into memory, and a cache of them with a byte budget."""

import logging
import re
import time
from collections.abc import Callable, Collection, Hashable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from shared.catalogue.folder import check_folder
from shared.catalogue.models import Catalogue, Model
from shared.catalogue.tensors import NotUsable
from shared.errors import ModelUnavailable
from shared.request.sampling import SamplingParams
from shared.settings import Settings
from worker.acceleration.prepare import Preparation
from worker.hardware.devices import Device
from worker.hardware.memory import giving_back_at_once
from worker.hardware.variants import Precision, Profile
from worker.models.checkpoint import NO_LAYERS, Addition, Checkpoint, Held
from worker.models.diffusers_folder import read_folder, weights_in_folder
from worker.models.download import Downloads
from worker.models.idle import IdleTimes
from worker.models.offload import Offloader
from worker.models.single_file import read_single_file, weights_in_file
from worker.models.vaes import Codec, Vaes

log = logging.getLogger(__name__)

_BROKEN = (OSError, ValueError, KeyError, SafetensorError)
"""What the libraries raise for files that are missing or not what they should be; NotUsable is one of them."""
_SENTENCE = 200
# of the budget, for what requests add to one model
_SHARE_OF_ADDED = 8
_Signature = tuple[tuple[str, int, int], ...]
_Key = tuple[str, Precision, Hashable]


class CheckpointCache:
    """The models in memory, least recently used first out, within `settings.model_memory`.

    The budget may be exceeded by one model, and by those in use: a request that was accepted is worth more. What nobody
    uses for `settings.model_idle_s` leaves too, and is loaded again when it is asked for.
    """

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        device: Device,
        profile: Profile,
        clock: Callable[[], float] = time.monotonic,
        beside: Callable[[], int] = lambda: 0,
    ) -> None:
        """`beside` gives the bytes of what else is kept within the budget; safe from any thread."""
        self._settings = settings
        self._beside = beside
        self._catalogue = catalogue
        self._device = device
        self._profile = profile
        self._downloads = Downloads(settings)
        self.preparation = Preparation(settings, device, profile)
        self._offloader = Offloader(device) if profile.offload else None
        self.home = "cpu" if profile.offload else device.name
        self._vaes = Vaes(catalogue, self.preparation, self.home)
        # least recently used first; other threads read it while it changes, and no step of an OrderedDict's iterator is
        # safe from that
        self._loaded: dict[_Key, Checkpoint] = {}
        self._idle: IdleTimes[_Key] = IdleTimes(settings.model_idle_s, clock)
        self._signatures: dict[_Key, _Signature] = {}
        self._weights: dict[str, tuple[_Signature, int]] = {}
        # what was tried and found broken, until its files change
        self._broken: dict[str, tuple[_Signature, str]] = {}

    def names(self) -> list[str]:
        """Names of the models in memory; safe from any thread."""
        return sorted({name for name, *_ in self._loaded.copy()})

    def remarks(self) -> list[str]:
        """What does not work with the models in memory as it should; safe from any thread."""
        return [remark for checkpoint in list(self._loaded.values()) for remark in checkpoint.remarks]

    def scheduler_config(self, name: str) -> Mapping[str, Any] | None:
        """Of a model that is in memory now, whatever its precision; None where it is not. Safe from any thread."""
        model = self._catalogue.find(name)
        loaded = (checkpoint for checkpoint in list(self._loaded.values()) if checkpoint.model == model)
        return next((checkpoint.parts.scheduler_config for checkpoint in loaded), None)

    def missing(self) -> Mapping[str, str]:
        """The models that this worker cannot serve, each with the reason; safe from any thread."""
        reasons = {model.name: self._why_not(model) for model in self._catalogue}
        return {name: reason for name, reason in reasons.items() if reason}

    def fetch(self, name: str, report: Callable[[int], None]) -> None:
        """Download the model if it is not here and that is allowed; see `Downloads.fetch`. Safe from any thread."""
        if model := self._catalogue.find(name):
            self._downloads.fetch(model, report)

    def get(
        self, name: str, precision: Precision, in_use: Collection[Held], addition: Addition | None = None
    ) -> Checkpoint:
        """The model, loaded if need be, or a copy of it with an addition; `in_use` are never evicted.

        Raises ModelUnavailable.
        """
        model = self._catalogue.find(name)
        if model is None:
            raise ModelUnavailable(f"No model is called '{name}'.")
        key = (model.name, precision, addition.key if addition else None)
        place = model.place(self._settings.models_dir)
        self._forget_replaced(key, place, in_use)
        if key not in self._loaded:
            if model.why_not:
                raise ModelUnavailable(model.why_not)
            if place is None:
                raise ModelUnavailable(self._absence(model))
            # a copy is not converted, and only the model itself tells whether it would be
            if addition and self.preparation.converts and not self.get(name, precision, in_use).layers:
                raise ModelUnavailable(NO_LAYERS)
            try:
                signature = _signature(place)
                self.make_room(self._weights_of(model, place) * precision.denoiser.itemsize, in_use)
                with giving_back_at_once():
                    loaded = self._load(model, place, precision, addition)
            except _BROKEN as broken:
                log.exception("the model %s cannot be read from %s", model.name, place)
                reason = f"The model '{model.name}' cannot be used: {self._shown(place)} {_told(broken)}."
                self._broken[model.name] = (_signature(place), reason)
                raise ModelUnavailable(reason) from broken
            self._broken.pop(model.name, None)
            self._loaded[key] = loaded
            self._signatures[key] = signature
            # made ready for this device, it may take more than its files did
            self.make_room(0, [*in_use, loaded])
            log.info("loaded the model %s (%d MiB)", model.name, loaded.size >> 20)
        if next(reversed(self._loaded)) != key:
            self._loaded[key] = self._loaded.pop(key)
        self._idle.used([key])
        return self._loaded[key]

    def evict_idle(self, in_use: Collection[Held], awaited: Collection[str]) -> float | None:
        """Let models go that were not used for too long, none `in_use` and none whose name is `awaited`.

        Gives the seconds until the next would leave, or None where none would.
        """
        names = {model.name for name in awaited if (model := self._catalogue.find(name))}
        self._idle.used(key for key, loaded in self._loaded.items() if loaded in in_use or key[0] in names)
        if idle := self._idle.due():
            for key in idle:
                self._forget(key)
                log.info("evicted the model %s: not used for %g s", key[0], self._settings.model_idle_s)
            self._vaes.forget_unused(in_use)
            self._device.empty_cache()
        return self._idle.next_s()

    def _forget(self, key: _Key) -> None:
        self._idle.forget(key)
        del self._loaded[key]

    def _forget_replaced(self, key: _Key, place: Path | None, in_use: Collection[Held]) -> None:
        """Let go of a model whose files are others by now, once no request is at work with it."""
        loaded = self._loaded.get(key)
        if loaded is None or place is None or loaded in in_use:
            return
        with suppress(OSError):  # they are changing: the next request tells
            if _signature(place) != self._signatures[key]:
                log.info("the files of the model %s have changed", key[0])
                self._forget(key)

    def offload_idle(self) -> None:
        """Nothing runs: what is on the device for the time of a request leaves it."""
        if self._offloader is not None:
            self._offloader.offload_idle()

    def has_room(
        self,
        name: str,
        precision: Precision,
        in_use: Collection[Held],
        addition: Addition | None = None,
        beside: Callable[[Checkpoint], int] = lambda _: 0,
    ) -> bool:
        """Whether `get` would keep to the budget: the model is in memory, or those not in use leave enough.

        `beside` gives the bytes that a request adds to a model in memory. Of these a share of the budget is there
        whatever the models take. True for a model that cannot be read, so that `get` tells why.
        """
        model = self._catalogue.find(name)
        if model is None:
            return True
        if loaded := self._loaded.get((model.name, precision, addition.key if addition else None)):
            wanted, held = beside(loaded), {loaded, *in_use}
            if wanted == 0 or wanted + loaded.fitted_bytes <= self._settings.model_memory // _SHARE_OF_ADDED:
                return True
        else:
            place, held = model.place(self._settings.models_dir), set(in_use)
            try:
                wanted = self._weights_of(model, place) * precision.denoiser.itemsize if place else 0
            except _BROKEN:
                return True
        return wanted + sum(other.size for other in held) <= self._budget

    def _load(self, model: Model, place: Path, precision: Precision, addition: Addition | None) -> Checkpoint:
        before = _signature(place)
        if place.is_dir():
            parts = read_folder(model, place, precision)
            if _signature(place) != before:
                raise NotUsable("was changed while it was read: ask again once it is whole")
        else:
            parts = read_single_file(model, place, precision, model.donors)
        _check_schedule(parts.scheduler_config)
        remarks = addition.merge(parts, model.name) if addition else ()
        for part in parts.modules:
            part.to(self.home)
        for encoder in parts.text_encoders.values():
            self.preparation.prepare_text_encoder(encoder)
        files = None if addition else _signature(place)
        prepared = self.preparation.prepare(parts.denoiser, parts.vae, model.name, files)
        return Checkpoint(
            model=model,
            precision=precision,
            device=self._device,
            parts=replace(parts, denoiser=prepared.denoiser),
            project_text=prepared.project_text,
            run_batch=prepared.run_batch,
            preparing=prepared.preparing,
            compiled=prepared.compiled,
            takes_residuals=prepared.takes_residuals,
            offloader=self._offloader,
            saves_memory=self._profile.tiled_decoding,
            warnings=(*prepared.warnings, *parts.remarks, *remarks),
            added=addition.key if addition else None,
            layers={"unet": prepared.layers} if prepared.layers else {},
        )

    def _weights_of(self, model: Model, place: Path) -> int:
        """The number of weights at `place`, counted anew only when its files change."""
        signature = _signature(place)
        known, count = self._weights.get(model.name, ((), 0))
        if known != signature:
            count = weights_in_folder(model, place) if place.is_dir() else weights_in_file(model, place)
            self._weights[model.name] = (signature, count)
        return count

    def codec(self, checkpoint: Checkpoint, params: SamplingParams, in_use: Collection[Held]) -> Codec:
        """What encodes and decodes the image of a request with this model. Raises ModelUnavailable."""
        return self._vaes.codec(
            checkpoint, params, lambda wanted, held: self.make_room(wanted, [*in_use, checkpoint, *held])
        )

    @property
    def _budget(self) -> int:
        return self._settings.model_memory - self._beside()

    def make_room(self, wanted: int, in_use: Collection[Held]) -> None:
        """Let go of what is not `in_use` until so many bytes more are within the budget, or nothing is left to go."""
        if self._fits(wanted):
            return
        self._vaes.forget_unused(in_use)  # they are quickly read again
        for checkpoint in self._loaded.values():
            checkpoint.fitted_lately.clear()  # likewise; those in use stay
        for key in list(self._loaded):
            if self._fits(wanted):
                break
            if self._loaded[key] not in in_use:
                self._forget(key)
                log.info("evicted the model %s: another needs its memory", key[0])
        self._device.empty_cache()

    def _fits(self, wanted: int) -> bool:
        held = self._vaes.size + sum(checkpoint.size for checkpoint in self._loaded.values())
        return wanted + held <= self._budget

    # ---- why not

    def _why_not(self, model: Model) -> str | None:
        if model.why_not:
            return model.why_not
        place = model.place(self._settings.models_dir)
        if place is None:
            return self._absence(model) if self._downloads.refusal(model) else None
        signature, reason = self._broken.get(model.name, ((), None))
        return reason if reason and signature == _signature(place) else None

    def _absence(self, model: Model) -> str:
        name = model.name
        if lacking := self._lacking(model):
            return lacking
        if model.local_source:
            return (
                f"The weights of the model '{name}' are not here: {self._shown(Path(model.local_source))} is missing;"
                " put it there, or name another source with MODEL_SOURCES."
            )
        fetch = f", or {why}" if model.hub_id and (why := self._downloads.refusal(model)) else ""
        return (
            f"The weights of the model '{name}' are not here: put them into MODELS_DIR as {name}.safetensors or"
            f" {name}.ckpt, or in the diffusers layout as the folder MODELS_DIR/{name}{fetch}."
        )

    def _lacking(self, model: Model) -> str | None:
        """What the folder lacks that is meant as this model's; None without one."""
        here = self._settings.models_dir
        for place in (here / model.local_source if model.local_source else None, here / model.name):
            if place is not None and place.is_dir():
                try:
                    check_folder(place, model.family, model.facts)
                except NotUsable as lacking:
                    return f"The model '{model.name}' cannot be used: {self._shown(place)} {lacking}."
        return None

    def _shown(self, place: Path) -> str:
        """The path as an operator knows it, without the machine's own folders."""
        if known := next((model.shown for model in self._catalogue if model.shown and model.path == place), ""):
            return known
        here = self._settings.models_dir
        inside = (here / place).is_relative_to(here)
        return f"MODELS_DIR/{(here / place).relative_to(here)}" if inside else place.name


def _check_schedule(config: Mapping[str, Any]) -> None:
    """Raises NotUsable for a schedule that begins in pure noise with a model that predicts the noise.

    Nothing of the image follows from it there: the first step divides by zero (Lin et al., arXiv 2305.08891, 3.3).
    """
    if config.get("rescale_betas_zero_snr") and config.get("prediction_type", "epsilon") == "epsilon":
        raise NotUsable(
            "asks for zero terminal SNR (rescale_betas_zero_snr) with prediction type epsilon, which cannot work:"
            " put one of them right in scheduler/scheduler_config.json"
        )


def _told(broken: Exception) -> str:
    """What is wrong and what to do, as the end of a sentence that begins with the file."""
    if isinstance(broken, NotUsable):
        return str(broken)
    first_line = re.split(r"[\n]|\. ", str(broken), maxsplit=1)[0][:_SENTENCE].rstrip(".")
    # no path of this machine for a client
    detail = re.sub(r"(/[^\s/'\"]+)+/", "", first_line)
    return f"is incomplete or broken ({detail}): fetch it again"


def _signature(place: Path) -> _Signature:
    """Changes when a file at `place` does, and does not depend on where the models' folder is."""
    files = sorted(place.glob("*/*")) if place.is_dir() else [place]
    stats = [(str(file.relative_to(place.parent)), file.stat()) for file in files if file.is_file()]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
