"""One more try for a VAE that ran out of memory: the image in tiles, which overlap and are blended."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from worker.hardware.devices import is_out_of_memory
from worker.models.checkpoint import Checkpoint

log = logging.getLogger(__name__)

T = TypeVar("T")
_SETTINGS = ("use_tiling", "use_slicing", "tile_sample_min_size", "tile_latent_min_size")


def tiled_if_needed(checkpoint: Checkpoint, call: Callable[[], T]) -> tuple[T, bool]:
    """What `call`, which uses the checkpoint's VAE, returns, and whether that took tiles.

    Raises the errors of `call`; out of memory only when it happens again with tiles.
    """
    with checkpoint.in_use(checkpoint.parts.vae):
        try:
            return call(), False
        except Exception as error:
            if not is_out_of_memory(error) or not can_tile(checkpoint.parts.vae):
                raise
            log.warning("out of memory in the VAE, trying tiles: %s", error)
        # only here, after the handler: the error holds the tensors that must make room
        if checkpoint.offloader is not None:
            checkpoint.offloader.offload_all()
        checkpoint.device.empty_cache()
        with _small_tiles(checkpoint.parts.vae):
            return call(), True


def can_tile(vae: Any) -> bool:
    """Whether the VAE has a way to decode in tiles; a VQModel has none."""
    return all(hasattr(vae, name) for name in _SETTINGS)


@contextmanager
def _small_tiles(vae: Any) -> Iterator[None]:
    """Tiles of half the size of those that the VAE takes by itself, which are as large as its training images."""
    before = {name: getattr(vae, name) for name in _SETTINGS}
    vae.enable_slicing()
    vae.enable_tiling()
    vae.tile_sample_min_size //= 2
    vae.tile_latent_min_size //= 2
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(vae, name, value)
