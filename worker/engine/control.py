"""The ControlNets of running requests: which are asked in a step, and what they add to the items of a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from shared.errors import InvalidRequest
from shared.request.control import CONTROL, FIELD, PROMPT, Control, image_name
from worker.adapters.controlnet import RESIDUALS, ControlNet, fading, residual_shapes, rising
from worker.families import Family
from worker.hardware.devices import Device
from worker.models.checkpoint import Checkpoint
from worker.text.conditioning import NamedTensors, stacked


@dataclass(frozen=True, eq=False)
class RunningControl:
    """One ControlNet of a running request, and what it has read in its control image: `(1, C, h, w)`."""

    net: ControlNet
    asked: Control
    hint: torch.Tensor


class Asked(NamedTuple):
    """A ControlNet that is asked for an item, and how much each of its residuals counts."""

    control: RunningControl
    factors: Sequence[float]


def begin(
    controls: Sequence[Control],
    nets: Sequence[ControlNet],
    images: Mapping[str, Image.Image],
    size: tuple[int, int],
    checkpoint: Checkpoint,
) -> Sequence[RunningControl]:
    """The ControlNets of a request that draws at `size` (W, H) pixels; `images` are RGB, by their names.

    Raises InvalidRequest for one that was made for a model of another structure, and where the denoiser takes none.
    """
    if controls and not checkpoint.takes_residuals:
        text = "A worker that computes with OpenVINO draws without ControlNets: leave it out, or ask another worker."
        raise InvalidRequest("The image cannot be made as asked.", {FIELD: [text]})
    begun = []
    for place, (asked, net) in enumerate(zip(controls, nets, strict=True)):
        _require_fitting(place, net, checkpoint)
        image = images[image_name(place)]
        if image.size != size:
            image = image.resize(size, Image.Resampling.LANCZOS)
        levels = torch.from_numpy(np.array(image, dtype=np.float32)).div(255).permute(2, 0, 1)[None]
        with checkpoint.in_use(net.reader):
            begun.append(RunningControl(net, asked, net.read(checkpoint.device.send(levels))))
    return begun


def _require_fitting(place: int, net: ControlNet, checkpoint: Checkpoint) -> None:
    ours, theirs = net.network.config, checkpoint.parts.denoiser.config
    for name in ("cross_attention_dim", "block_out_channels", "layers_per_block"):
        if _listed(getattr(ours, name)) != _listed(getattr(theirs, name)):
            text = (
                f"[{place}].model: '{net.name}' was made for models of another structure than"
                f" '{checkpoint.model.name}'; see GET /controlnets."
            )
            raise InvalidRequest("The ControlNet does not fit the model.", {FIELD: [text]})


def _listed(value: object) -> object:
    return list(value) if isinstance(value, list | tuple) else value


def asked_for(
    controls: Sequence[RunningControl], step: int, steps: int, items: int, latents: Sequence[int]
) -> list[list[Asked]]:
    """For each of so many items (of two the first is what to avoid) who is asked in this step; `latents` are (h, w)."""
    asked: list[list[Asked]] = [[] for _ in range(items)]
    for control in controls:
        if not control.asked.takes_part(step, steps):
            continue
        factors = _factors(control, latents)
        # what follows the control image the most does so where it is guided to
        for item in asked[-1:] if control.asked.mode == CONTROL or _sees_the_whole(control) else asked:
            item.append(Asked(control, factors))
    return asked


def _sees_the_whole(control: RunningControl) -> bool:
    """Whether it has one value for the whole image, which diffusers adds to what is to be drawn alone."""
    return bool(control.net.network.config.global_pool_conditions)


def _factors(control: RunningControl, latents: Sequence[int]) -> list[float]:
    count, mode = len(residual_shapes(control.net.network.config, latents)), control.asked.mode
    scales = [1.0] * count
    if mode == PROMPT:
        scales = fading(count)
    elif mode == CONTROL and not _sees_the_whole(control):
        scales = rising(count)
    return [scale * control.asked.weight for scale in scales]


def added(
    asked: Sequence[Sequence[Asked]],
    items: Sequence[NamedTensors],
    latents: torch.Tensor,
    timesteps: torch.Tensor,
    family: Family,
    device: Device,
) -> NamedTensors:
    """What the ControlNets add to each item of a batch, `RESIDUALS` `(B, N)`; nothing where nobody is asked.

    `items` are the conditioning of each, their text unprojected. Each ControlNet is asked once for all its items, and
    what several add to one item is summed in the order of its request, whatever the others ask for.
    """
    by_net: dict[ControlNet, list[tuple[int, int]]] = {}
    for place, several in enumerate(asked):
        for order, one in enumerate(several):
            by_net.setdefault(one.control.net, []).append((place, order))
    arguments = family.control_arguments
    if not by_net or arguments is None:
        return {}
    rows: dict[tuple[int, int], torch.Tensor] = {}
    for net, wanted in by_net.items():
        where = device.tensor([place for place, _ in wanted])
        told = stacked([items[place] for place, _ in wanted])
        some = [asked[place][order] for place, order in wanted]
        hints = torch.cat([one.control.hint for one in some])
        said = net.residuals(arguments, latents[where], timesteps[where], told, hints)
        _scale(said, [one.factors for one in some], residual_shapes(net.network.config, latents.shape[-2:]), device)
        rows |= zip(wanted, said, strict=True)
    nothing = torch.zeros_like(next(iter(rows.values())))
    totals = []
    for place, several in enumerate(asked):
        total = nothing
        for order in range(len(several)):
            total = total + rows[place, order] if order else rows[place, order]
        totals.append(total)
    return {RESIDUALS: torch.stack(totals)}


def _scale(
    rows: torch.Tensor, factors: Sequence[Sequence[float]], shapes: Sequence[Sequence[int]], device: Device
) -> None:
    """Multiply the residuals `(B, N)` by the factors `(B, residuals)`, in place."""
    if all(factor == 1.0 for row in factors for factor in row):
        return
    columns = device.tensor([list(row) for row in factors]).to(rows.dtype).split(1, dim=1)
    for part, column in zip(rows.split([prod(shape) for shape in shapes], dim=1), columns, strict=True):
        part.mul_(column)
