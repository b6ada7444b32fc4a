"""What makes pixels of latents and back for one request: the model's own VAE, one of a file, or a tiny decoder."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from shared.catalogue.kinds import VAE
from shared.catalogue.models import Catalogue, OtherFile
from shared.catalogue.tensors import NotUsable
from shared.catalogue.vaes import TINY, misfit, tiny_for, unknown_vae, without_tiny
from shared.catalogue.weights_file import read_header
from shared.errors import ModelUnavailable
from shared.request.sampling import SamplingParams
from worker.acceleration.prepare import Preparation
from worker.models.checkpoint import Checkpoint, Held
from worker.models.vae_files import read_tiny, read_vae

log = logging.getLogger(__name__)

MakeRoom = Callable[[int, Sequence[Held]], None]
_BROKEN = (OSError, ValueError, KeyError, SafetensorError)


@dataclass(eq=False)
class LoadedVae:
    """A VAE in memory that is no part of a model."""

    module: Any

    @cached_property
    def size(self) -> int:
        """Bytes of its weights."""
        return sum(weight.nbytes for weight in self.module.parameters())


@dataclass(frozen=True)
class Codec:
    """What encodes and decodes the image of a request, each with the methods of a diffusers VAE.

    `preview` is a tiny decoder for previews, None where there is none. `held` must stay in memory meanwhile.
    """

    encoder: Any
    decoder: Any
    preview: Any = None
    held: tuple[LoadedVae, ...] = ()

    @classmethod
    def own(cls, checkpoint: Checkpoint) -> "Codec":
        """The model's own VAE."""
        return cls(checkpoint.parts.vae, checkpoint.parts.vae)


class Vaes:
    """VAEs of files in memory, used on the engine's thread alone; their bytes count in the budget of the models."""

    def __init__(self, catalogue: Catalogue, preparation: Preparation, home: str) -> None:
        """`home` is the device on which they live while they are not at work."""
        self._catalogue = catalogue
        self._preparation = preparation
        self._home = home
        self._loaded: dict[tuple[object, ...], LoadedVae] = {}

    @property
    def size(self) -> int:
        """Bytes of all that are in memory."""
        return sum(loaded.size for loaded in self._loaded.values())

    def forget_unused(self, in_use: Collection[Held]) -> None:
        """Let go of those that no request is at work with."""
        self._loaded = {key: loaded for key, loaded in self._loaded.items() if loaded in in_use}

    def codec(self, checkpoint: Checkpoint, params: SamplingParams, make_room: MakeRoom) -> Codec:
        """What a request with this model asks for; `make_room(bytes, held)` is called before anything is loaded, where
        `held` must stay.

        Raises ModelUnavailable.
        """
        held: list[LoadedVae] = []
        encoder = decoder = own = checkpoint.parts.vae
        if params.vae is not None:
            vae = self._get(self._named(params.vae, checkpoint), checkpoint, own, lambda size: make_room(size, held))
            held.append(vae)
            encoder = decoder = vae.module
        tiny = self._tiny(checkpoint, params.decoder == TINY, lambda size: make_room(size, held))
        if tiny is None:
            return Codec(encoder, decoder, held=tuple(held))
        return Codec(encoder, tiny.module if params.decoder == TINY else decoder, tiny.module, (*held, tiny))

    def _tiny(self, checkpoint: Checkpoint, needed: bool, make_room: Callable[[int], None]) -> LoadedVae | None:
        """The tiny decoder of a model. Raises ModelUnavailable where it is `needed` and not to be had, else it is None
        then."""
        file = tiny_for(self._catalogue.others, checkpoint.model)
        if file is None and needed:
            sentence = without_tiny(checkpoint.model)
            raise ModelUnavailable(sentence, {"decoder": [sentence]})
        try:
            return self._get(file, checkpoint, None, make_room) if file else None
        except ModelUnavailable:
            if needed:
                raise
            return None

    def _named(self, name: str, checkpoint: Checkpoint) -> OtherFile:
        file = self._catalogue.find_other(VAE, name)
        wrong = unknown_vae(name, self._catalogue) if file is None else misfit(file, checkpoint.model)
        if file is None or wrong:
            raise ModelUnavailable(f"The VAE '{name}' cannot be used here: {wrong}", {"vae": [str(wrong)]})
        return file

    def _get(self, file: OtherFile, checkpoint: Checkpoint, like: Any, make_room: Callable[[int], None]) -> LoadedVae:
        """A file in memory; a tiny decoder where it is like no VAE."""
        path, dtype = file.path, checkpoint.precision.others
        try:
            if path is None:
                raise NotUsable("is not on this machine")
            stat = path.stat()
            key = (path, stat.st_size, stat.st_mtime_ns, dtype, repr(sorted(like.config.items())) if like else "")
            if key not in self._loaded:
                make_room(_weights_in(path) * dtype.itemsize)
                self._loaded = {
                    other: vae for other, vae in self._loaded.items() if other[:3] == key[:3] or other[0] != path
                }
                self._loaded[key] = LoadedVae(self._read(path, like, dtype))
                log.info("loaded the VAE %s (%d MiB)", file.shown, self._loaded[key].size >> 20)
        except _BROKEN as broken:
            log.warning("the VAE %s cannot be read: %s", file.shown, broken)
            told = str(broken) if isinstance(broken, NotUsable) else "is incomplete or broken: fetch it again"
            reason = f"The VAE '{file.name}' cannot be used: {file.shown} {told}."
            raise ModelUnavailable(reason, {"vae": [reason]}) from broken
        return self._loaded[key]

    def _read(self, path: Path, like: Any, dtype: torch.dtype) -> Any:
        module = read_vae(path, like, dtype) if like else read_tiny(path, dtype)
        module.to(self._home)
        self._preparation.prepare_vae(module)
        return module


def _weights_in(path: Path) -> int:
    return sum(tensor.count for tensor in read_header(path).tensors.values())
