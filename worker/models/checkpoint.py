"""A model in memory."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

import torch

from shared.catalogue.models import Model
from worker.hardware.devices import Device
from worker.hardware.variants import Precision
from worker.models.offload import Offloader


@dataclass(frozen=True)
class Parts:
    """What a model is made of: the diffusers and transformers classes, in evaluation mode, in host memory."""

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler_config: Mapping[str, Any]


@dataclass(eq=False)
class Checkpoint:
    """A model in memory, its parts where the worker wants them."""

    model: Model
    precision: Precision
    device: Device
    unet: Any
    project_text: Callable[[torch.Tensor], torch.Tensor]
    """What this UNet wants as its `encoder_hidden_states`, from a text's encoding of the same dtype."""
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler_config: Mapping[str, Any]
    offloader: Offloader | None = None
    """Moves the parts to the device and back; None: all are there to stay."""
    warnings: tuple[str, ...] = ()
    """What every result of this model must say."""
    conditionings: WeakValueDictionary[Hashable, Any] = field(default_factory=WeakValueDictionary)
    """What the UNet is told by the requests under way, by their texts; the engine fills it."""
    encodings: OrderedDict[Hashable, torch.Tensor] = field(default_factory=OrderedDict)
    """Text encodings made before; `families` fills it."""

    @property
    def key(self) -> Hashable:
        """Equal for checkpoints that are the same model in the same precision, also after it was loaded anew."""
        return self.model.name, self.precision

    @cached_property
    def unet_dtype(self) -> torch.dtype:
        """Of what the UNet is given; diffusers looks through all modules for it, every time."""
        dtype: torch.dtype = self.unet.dtype
        return dtype

    @property
    def size(self) -> int:
        """Bytes of all weights."""
        return sum(
            weight.nbytes for part in (self.unet, self.vae, self.text_encoder) for weight in part.state_dict().values()
        )

    @contextmanager
    def in_use(self, part: torch.nn.Module, keep: bool = False) -> Iterator[torch.nn.Module]:
        """`part` on the device; where parts come and go, `keep` lets the UNet stay while another is in use."""
        if self.offloader is None:
            yield part
        elif part is self.unet:
            self.offloader.resolve(part, keep)
            yield part
        else:
            with self.offloader.visit(part):
                yield part
