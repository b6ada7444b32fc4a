"""A model in memory."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol
from weakref import WeakValueDictionary

import torch

from shared.catalogue.models import Model
from worker.acceleration.compiled import CompiledDenoiser
from worker.acceleration.low_rank import PREFIX, LowRankLayers
from worker.acceleration.split_batch import Preparing, RunBatch, run_whole
from worker.hardware.devices import Device
from worker.hardware.variants import Precision
from worker.models.offload import Offloader

NO_LAYERS = (
    "OpenVINO computes this model on the worker (CPU_BACKEND), and draws no LoRA: leave loras out, or ask the operator"
    " for CPU_BACKEND=torch."
)
"""Why nothing can be added to a model that torch does not compute."""


@dataclass(frozen=True)
class Parts:
    """What a model is made of: the diffusers and transformers classes, in evaluation mode.

    Text encoders and tokenizers are under the names of their folders in the diffusers layout. `pipeline_config` is what
    the model's index says of its use, empty for a single file. `remarks` are what every result of the model must say.
    """

    denoiser: Any
    vae: Any
    text_encoders: Mapping[str, Any]
    tokenizers: Mapping[str, Any]
    scheduler_config: Mapping[str, Any]
    pipeline_config: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def modules(self) -> Sequence[torch.nn.Module]:
        """All that have weights."""
        return self.denoiser, self.vae, *self.text_encoders.values()


class Addition(Protocol):
    """What is merged into the weights of a copy of a model; equal in `key` where the copy is the same."""

    @property
    def key(self) -> Hashable: ...

    def merge(self, parts: Parts, model: str) -> tuple[str, ...]:
        """Change the weights of parts, just read, of the model of that name, in place; gives what every result of them
        must say. Raises ModelUnavailable."""
        ...


class Held(Protocol):
    """What takes memory while a request is at work with it."""

    @property
    def size(self) -> int:
        """In bytes."""
        ...


@dataclass(eq=False)
class Checkpoint:
    """A model in memory, its parts where the worker wants them."""

    model: Model
    precision: Precision
    device: Device
    parts: Parts = field(repr=False)
    project_text: Callable[[torch.Tensor], torch.Tensor] = lambda encoding: encoding
    """What this denoiser wants as its `encoder_hidden_states`, from a text's encoding of the same dtype."""
    run_batch: RunBatch = run_whole
    """How this denoiser's forward pass is run."""
    preparing: Preparing | None = None
    """In which passes are made that should be fast from then on; None: none become faster."""
    compiled: CompiledDenoiser | None = None
    """The denoiser's compiled form, where it has one."""
    takes_residuals: bool = True
    """Whether the denoiser can be told what ControlNets add."""
    offloader: Offloader | None = None
    """Moves the parts to the device and back; None: all are there to stay."""
    saves_memory: bool = False
    """Whether images that are larger than those of its training are decoded in tiles."""
    warnings: tuple[str, ...] = ()
    """What every result of this model must say."""
    added: Hashable = None
    """The key of what is merged into its weights; None: they are the model's own."""
    conditionings: WeakValueDictionary[Hashable, Any] = field(default_factory=WeakValueDictionary)
    """What the denoiser is told by the requests under way, by their `ConditioningInputs`; the engine fills it."""
    seamless: "Checkpoint | None" = None
    """The same with circular convolutions; `worker.models.seamless` fills it."""
    encodings: OrderedDict[Hashable, tuple[torch.Tensor, ...]] = field(default_factory=OrderedDict)
    """Text encodings made before; `worker.text` fills it."""
    encoded_for: Hashable = ()
    """What the text encoders are changed by at the moment; equal for what makes the same encodings."""
    layers: dict[str, LowRankLayers] = field(default_factory=dict)
    """The layers that can be changed for some items of a batch, by network; see `low_rank`."""
    layer_paths: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """Of these the paths by what files call them; `worker.adapters` fills it."""
    fitted: WeakValueDictionary[Hashable, Any] = field(default_factory=WeakValueDictionary)
    """What is added to the model by the requests under way, by their LoRAs; `worker.adapters` fills it."""
    fitted_lately: OrderedDict[Hashable, Any] = field(default_factory=OrderedDict)
    """Of these the last ones, also when no request needs them any more."""

    def low_rank(self, network: str) -> LowRankLayers | None:
        """The layers of a network that can be changed, `unet` or a text encoder; None where none can."""
        if network not in self.layers and network in self.parts.text_encoders:
            self.layers[network] = LowRankLayers(self.parts.text_encoders[network], lambda _path: f"{PREFIX}{network}")
        return self.layers.get(network)

    @cached_property
    def denoiser_dtype(self) -> torch.dtype:
        """Of what the denoiser is given; diffusers looks through all modules for it, every time."""
        dtype: torch.dtype = self.parts.denoiser.dtype
        return dtype

    @cached_property
    def is_told_the_mask(self) -> bool:
        """Whether it is an inpainting model, whose denoiser has the mask and what is left of an image as channels."""
        channels = getattr(self.parts.denoiser.config, "in_channels", None)
        return bool(channels == self.model.facts.masked_channels)

    @cached_property
    def guidance_width(self) -> int | None:
        """How wide the guidance scale is as an input of the denoiser, which is not guided then; None: it takes none."""
        width: int | None = getattr(self.parts.denoiser.config, "time_cond_proj_dim", None)
        return width

    @property
    def size(self) -> int:
        """Bytes of all weights, and of what is added to them in the passes of some requests."""
        weights: int = sum(weight.nbytes for part in self.parts.modules for weight in part.state_dict().values())
        return weights + self.fitted_bytes

    @property
    def fitted_bytes(self) -> int:
        """Bytes of what is added in the passes of some requests."""
        return sum(added.nbytes for added in self.fitted.values())

    @property
    def remarks(self) -> tuple[str, ...]:
        """What has turned out since it was loaded, for results and the operator."""
        return self.compiled.remarks if self.compiled else ()

    @contextmanager
    def in_use(
        self, part: torch.nn.Module, keep: bool = False, beside: Sequence[torch.nn.Module] = ()
    ) -> Iterator[torch.nn.Module]:
        """`part` on the device; where parts come and go, `keep` lets the denoiser stay while another is in use.

        The ControlNets `beside` the denoiser are there as well.
        """
        if self.offloader is None:
            yield part
        elif part is self.parts.denoiser:
            self.offloader.load(part, keep, beside)
            yield part
        else:
            with self.offloader.load_temporarily(part):
                yield part
