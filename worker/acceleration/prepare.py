"""Makes the parts of a model, just loaded, ready for the way in which this worker uses them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from shared.settings import OPENVINO, Settings
from worker.acceleration import cpu
from worker.acceleration.blocks import simplify_blocks
from worker.acceleration.compiled import CompiledDenoiser
from worker.acceleration.itemwise import compute_itemwise
from worker.acceleration.low_rank import TEXT_PART, LowRankLayers, unet_part
from worker.acceleration.narrow_weights import keep_narrow
from worker.acceleration.openvino import converted, require_openvino
from worker.acceleration.split_batch import Preparing, RunBatch, SplitBatch, run_whole
from worker.acceleration.text_projection import TextProjection
from worker.acceleration.traced import Traced
from worker.hardware.devices import Device
from worker.hardware.variants import Profile

log = logging.getLogger(__name__)

# A smaller model takes no time to speak of, and stays with the kernels of the stock pipelines bit for bit. SD 1.x has
# 860 million, the demo model 11.
_LARGE_MODEL = 100_000_000
# that of SD 1.x has 123 million, the second one of SDXL 695
_LARGE_TEXT_ENCODER = 100_000_000
# that of SD 1.x has 84 million, a tiny decoder one
_LARGE_VAE = 20_000_000
_CPU = "cpu"
# what a conversion depends on besides the weights
_LIBRARIES = ("openvino", "torch", "diffusers")
_GIVEN_WAY = "CPU_BACKEND: OpenVINO could not be used for this model; torch was."


@dataclass(frozen=True)
class Prepared:
    """A model's denoiser as it is used from now on."""

    denoiser: Any
    project_text: Callable[[torch.Tensor], torch.Tensor] = lambda encoding: encoding
    """What the denoiser wants as its `encoder_hidden_states`, from a text's encoding."""
    run_batch: RunBatch = run_whole
    """How its forward pass is run."""
    warnings: tuple[str, ...] = ()
    """What every result must say."""
    preparing: Preparing | None = None
    """In which the passes are made that should be fast from then on; None: none become faster."""
    compiled: CompiledDenoiser | None = None
    """Its compiled form, where it has one."""
    layers: LowRankLayers | None = None
    """Those that can be changed for some items of a batch; None: it has none."""
    takes_residuals: bool = True
    """Whether it can be told what ControlNets add."""


class Preparation:
    """For one device and the operator's settings. Raises BackendUnavailable when OpenVINO is asked for and missing."""

    def __init__(self, settings: Settings, device: Device, profile: Profile) -> None:
        self._settings = settings
        self._device = device
        self._profile = profile
        self._openvino = settings.cpu_backend == OPENVINO and device.kind == _CPU
        if self._openvino:
            require_openvino()
        elif settings.cpu_backend == OPENVINO:
            log.warning("CPU_BACKEND has no effect: this worker computes on %s", device.name)

    @property
    def converts(self) -> bool:
        """Whether OpenVINO computes the denoisers that it can, whose layers are out of reach then."""
        return self._openvino

    def prepare(self, denoiser: Any, vae: Any, name: str, files: object | None) -> Prepared:
        """Make both ready; they may be changed in place.

        `name` is the model's, and the text of `files` changes when what it was read from does. Without these, where the
        weights are others than those of the files, nothing is converted, for that would be kept as the model's.
        """
        # the layout that the matrix units work in; on a CPU a small denoiser is no faster with it
        vae.to(memory_format=torch.channels_last)
        if self._device.kind != _CPU:
            denoiser.to(memory_format=torch.channels_last)
        weights = sum(weight.numel() for weight in denoiser.parameters())
        large = self._device.kind == _CPU and weights >= _LARGE_MODEL
        if large:
            cpu.speed_up_vae(vae)
        warnings: tuple[str, ...] = ()
        if self._openvino and files is None:
            warnings = (_GIVEN_WAY,)
        elif self._openvino:
            try:
                return Prepared(converted(denoiser, self._place(denoiser, name, files)), takes_residuals=False)
            except Exception:  # of openvino and torch's tracer, of any kind
                log.exception("OpenVINO cannot be used for the model %s, torch computes it", name)
                warnings = (_GIVEN_WAY,)
        if large:
            cpu.speed_up_unet(denoiser)
        simplify_blocks(denoiser)
        if self._settings.torch_compile and self._profile.offload:
            log.warning("TORCH_COMPILE has no effect: with WORKER_VARIANT=optimized the denoiser comes and goes")
        elif self._settings.torch_compile:
            layers = LowRankLayers(denoiser, unet_part, one_thread=True)
            layers.listen()  # compiled code would not notice it any more
            compiled = CompiledDenoiser(denoiser, self._device, name)
            return Prepared(denoiser, run_batch=compiled, compiled=compiled, warnings=warnings, layers=layers)
        elif self._device.kind == _CPU:
            # with either of these two, compiled code would be compiled anew for every batch size
            if denoiser.dtype == torch.bfloat16:
                compute_itemwise(denoiser)
            split, projection = SplitBatch(weights), TextProjection(denoiser)
            layers = LowRankLayers(denoiser, unet_part, frozenset({TEXT_PART}) if projection.projects else frozenset())
            if large:
                return Prepared(denoiser, projection, split, warnings, layers=layers)
            traced = Traced(denoiser, split)
            return Prepared(denoiser, projection, traced, warnings, traced.preparing, layers=layers)
        return Prepared(denoiser, warnings=warnings, layers=LowRankLayers(denoiser, unet_part))

    def prepare_controlnet(self, network: Any) -> RunBatch:
        """Make a ControlNet ready, in place, as the denoiser beside it; how its forward pass is run."""
        if self._device.kind != _CPU:
            network.to(memory_format=torch.channels_last)
            return run_whole
        weights = sum(weight.numel() for weight in network.parameters())
        if weights >= _LARGE_MODEL:
            cpu.speed_up_unet(network)
        simplify_blocks(network)
        if network.dtype == torch.bfloat16:
            compute_itemwise(network)
        return SplitBatch(weights)

    def prepare_vae(self, vae: Any) -> None:
        """Make a VAE of a file ready, in place, as `prepare` does with the one of a model."""
        vae.to(memory_format=torch.channels_last)
        if self._device.kind == _CPU and sum(weight.numel() for weight in vae.parameters()) >= _LARGE_VAE:
            cpu.speed_up_vae(vae)

    def prepare_text_encoder(self, encoder: Any) -> None:
        """Make a text encoder ready, in place: on a CPU a large one takes no more memory than in its file."""
        weights = sum(weight.numel() for weight in encoder.parameters())
        if self._device.kind == _CPU and weights >= _LARGE_TEXT_ENCODER:
            keep_narrow(encoder)

    def _place(self, denoiser: Any, name: str, files: object) -> Path:
        """The folder of this denoiser's conversion."""
        told_apart = repr((files, [version(library) for library in _LIBRARIES]))
        kind = str(denoiser.dtype).removeprefix("torch.")
        digest = sha256(told_apart.encode()).hexdigest()[:16]
        return self._settings.compile_cache_dir.resolve() / "openvino" / name / f"{kind}-{digest}"
