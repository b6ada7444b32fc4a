"""A UNet that OpenVINO computes on the CPU: converted once for all workers that share a folder, and kept there."""

import errno
import importlib.util
import logging
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

log = logging.getLogger(__name__)

_PACKAGE = "openvino"
_FILE = "unet.xml"
_PARTIAL = ".partial"
_LOOK_S = 0.5
# batch items, height and width of the latents, tokens. The sides are no multiples of a UNet's factor: what makes such
# sizes come out right would not be in the trace otherwise, and it suits the others as well
_TRACED = (2, 9, 13, 77)
_TRIED = (3, 16, 8, 154)
# relative to the largest value; of a full-size UNet float32 was within 4e-6, and bfloat16 has 8 bits
_TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 0.1}
# in the text of the RuntimeError that openvino raises for it, as for everything
_NO_MEMORY = "Failed to allocate"
_HINTS = {torch.float32: "f32", torch.bfloat16: "bf16"}


class BackendUnavailable(ValueError):
    """The operator asked for OpenVINO, and it is not here."""


def require_openvino() -> None:
    """Raises BackendUnavailable where the package is missing; nothing is imported."""
    if importlib.util.find_spec(_PACKAGE) is None:
        raise BackendUnavailable(
            f"CPU_BACKEND: the package {_PACKAGE} is not installed; install it with pip install '.[openvino]', or use"
            " CPU_BACKEND=torch"
        )


def converted(unet: Any, place: Path) -> "OpenVinoUNet":
    """What takes the place of `unet`, a diffusers UNet in host memory, which is not needed any more then.

    The folder `place` keeps it for the next start, and its name must tell apart whatever makes a difference; others
    beside it that are of the same type (the name up to a hyphen) go. Of several processes one converts, and the others
    wait for it. Where nothing can be written, each converts for itself. Raises whatever goes wrong in OpenVINO, with
    `unet` as it was.
    """
    if unet.config.time_cond_proj_dim is not None:
        raise ValueError("the UNet takes its guidance as an input, which the conversion would leave out")
    if ready := _kept(unet, place):
        return ready
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.parent / ".lock", poll_interval=_LOOK_S):
            return _kept(unet, place) or _convert_and_keep(unet, place)
    except OSError as error:
        log.warning("what OpenVINO makes of the UNet cannot be kept in %s: %s", place, error)
    return _convert(unet, None)


def _kept(unet: Any, place: Path) -> "OpenVinoUNet | None":
    """What was converted before; None where there is none, or a broken one."""
    if not (place / _FILE).is_file():
        return None
    try:
        ready = OpenVinoUNet(_openvino().Core().read_model(place / _FILE), unet)
    except RuntimeError as broken:
        log.warning("what OpenVINO made of the UNet is broken, making it anew: %s", broken)
        return None
    log.info("OpenVINO computes the UNet, which was converted before")
    return ready


def _convert_and_keep(unet: Any, place: Path) -> "OpenVinoUNet":
    partial = place.parent / _PARTIAL
    for old in (partial, place):
        shutil.rmtree(old, ignore_errors=True)
    # openvino's own error for a full disk is a plain RuntimeError
    wanted = 4 * _count(unet)
    if shutil.disk_usage(place.parent).free < wanted:
        raise OSError(errno.ENOSPC, f"the disk is full, it takes {wanted / 1e9:.1f} GB")
    try:
        ready = _convert(unet, partial)
        for file in partial.iterdir():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        partial.rename(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    kind = place.name.partition("-")[0]
    for other in place.parent.glob(f"{kind}-*"):
        if other != place:
            shutil.rmtree(other, ignore_errors=True)
    return ready


@torch.no_grad()
def _convert(unet: Any, folder: Path | None) -> "OpenVinoUNet":
    """Convert, in `folder` if given, and see that it computes the same."""
    log.info("converting the UNet for OpenVINO")
    kind, trial = unet.dtype, _inputs(unet, _TRIED)
    expected = _outputs(unet, *trial)
    try:
        # in float32 whatever the model is used in: OpenVINO rounds to 16 bits itself
        graph = _graph(unet.float())
        if folder is not None:
            _openvino().save_model(graph, folder / _FILE, compress_to_fp16=False)
            # maps the weights' file, of which processes share the pages, and lets go of this process's own
            graph = _openvino().Core().read_model(folder / _FILE)
    finally:
        # not the UNet's own `to`, which warns of layers that it does not have
        torch.nn.Module.to(unet, kind)
    ready = OpenVinoUNet(graph, unet)
    error = float((_outputs(ready, *trial) - expected).abs().max() / expected.abs().max())
    if not error <= _TOLERANCES[kind]:
        raise RuntimeError(
            f"what OpenVINO made of the UNet computes something else, by {error:.2g} of the largest value"
        )
    return ready


def _graph(unet: Any) -> Any:
    """OpenVINO's model of `unet`, for any number of batch items, any size and any number of tokens."""
    kinds, context = _openvino().Type.f32, unet.config.cross_attention_dim
    shapes = ([-1, unet.config.in_channels, -1, -1], [-1], [-1, -1, context])
    with warnings.catch_warnings():
        # torch's tracer warns of every comparison in the model's code; whether one mattered, a trial tells
        warnings.simplefilter("ignore")
        return _openvino().convert_model(
            _Positional(unet), example_input=_inputs(unet, _TRACED), input=[(shape, kinds) for shape in shapes]
        )


def _inputs(unet: Any, sizes: tuple[int, int, int, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents, timesteps and conditioning, float32, always the same."""
    items, height, width, tokens = sizes
    draw = torch.Generator().manual_seed(0)
    return (
        torch.randn((items, unet.config.in_channels, height, width), generator=draw),
        torch.linspace(1, 999, items),
        torch.randn((items, tokens, unet.config.cross_attention_dim), generator=draw),
    )


def _outputs(unet: Any, latents: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    made: torch.Tensor = unet(latents.to(unet.dtype), timesteps, context.to(unet.dtype), return_dict=False)[0]
    return made.float()


def _count(unet: Any) -> int:
    return sum(weight.numel() for weight in unet.parameters())


class _Positional(torch.nn.Module):
    """What is traced: three tensors in, one out."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self._unet = unet

    def forward(self, latents: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        return _outputs(self._unet, latents, timesteps, context)


class OpenVinoUNet(torch.nn.Module):
    """Called like the diffusers UNet that it stands in for; takes and gives float32.

    It uses as many threads as torch does when it is called.
    """

    dtype = torch.float32
    weights: torch.Tensor
    _compiled: Any

    def __init__(self, graph: Any, original: Any) -> None:
        super().__init__()
        self.config = original.config
        # OpenVINO has the weights; this only says how large they are
        self.register_buffer("weights", torch.empty(_count(original), dtype=original.dtype, device="meta"))
        self._graph = graph
        self._compile()

    def forward(
        self, latents: torch.Tensor, timesteps: torch.Tensor, encoder_hidden_states: torch.Tensor, **_: Any
    ) -> tuple[torch.Tensor]:
        """`(B, 4, h, w)`, `(B,)`, `(B, tokens, D)` -> `(B, 4, h, w)`. Raises MemoryError when it does not fit."""
        if self._compiled is None or self._threads != torch.get_num_threads():
            self._compile()
        try:
            made = self._compiled([given.contiguous().numpy() for given in (latents, timesteps, encoder_hidden_states)])
        except RuntimeError as error:
            # what a failed call leaves behind makes the next ones fail as well
            self._compiled = None
            if _NO_MEMORY in str(error):
                raise MemoryError("OpenVINO could not allocate memory") from None
            raise
        return (torch.from_numpy(made[0]),)

    def _compile(self) -> None:
        threads, self._compiled = torch.get_num_threads(), None
        self._compiled = _openvino().Core().compile_model(self._graph, "CPU", {
            "INFERENCE_PRECISION_HINT": _HINTS[self.weights.dtype],
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            # threads may be more than the physical cores
            "ENABLE_HYPER_THREADING": True,
            # every worker would be pinned to the same first cores
            "ENABLE_CPU_PINNING": False,
        })  # fmt: skip
        self._threads = threads


def _openvino() -> Any:
    """The package, which takes its time, without the part of it that reports its use to its makers over the network."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: not to be imported
    import openvino

    return openvino
