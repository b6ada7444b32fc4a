"""What an accelerator gains on a full-size model: `python -m benchmarks.few_steps`, over HTTP, with random weights.

A service of real processes with one worker, started as an operator starts it, on all cores. Its model has the layout of
Stable Diffusion 1.5, its accelerator that of the LCM LoRA for it: rank 64, of all layers of the UNet. One user draws
one image in 20 guided steps and in the accelerator's 4, with the model's decoder and with the tiny one, in turns. The
times are the service's own, from the acceptance to the end.
"""

import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks import random_models, report
from benchmarks.adapters import Asked, in_turns, summary
from benchmarks.fresh_process import in_fresh_process
from benchmarks.served import started
from client.local.embedded_redis import find_server
from worker.hardware.cores import available_cores

_MODEL, _ACCELERATOR, _RANK = "sd15", "lcm-random", 64
_MANY, _FEW = "20 guided steps", "4 steps with the accelerator"


def write(models: Path) -> None:
    """The model, its accelerator and a tiny decoder."""
    from safetensors.torch import save_file

    from tests.worker.lora_writing import EVERYWHERE, write_kohya

    random_models.write(_MODEL, models / _MODEL)
    (models / "Lora").mkdir(exist_ok=True)
    file = models / "Lora" / f"{_ACCELERATOR}.safetensors"
    # as small as trained ones, or the images overflow
    write_kohya(file, models / _MODEL, alpha=_RANK / 100, ends=EVERYWHERE, rank=_RANK, only=("unet",))
    (models / "VAE-approx").mkdir(exist_ok=True)
    save_file(random_models.tiny_vae().half().state_dict(), models / "VAE-approx" / "taesd.safetensors")


def ways() -> dict[str, tuple[Asked, bool]]:
    """What each way to draw asks for."""
    asked: dict[str, Mapping[str, Any]] = {
        _MANY: {"ckpt": _MODEL, "sampler": "ddim", "ddim_steps": 20, "scale": 7.5},
        _FEW: {"ckpt": _MODEL, "accelerator": _ACCELERATOR},
    }
    asked |= {f"{way}, tiny decoder": {**fields, "decoder": "tiny"} for way, fields in asked.items()}
    return {way: (partial(_the_same, fields), True) for way, fields in asked.items()}


def _the_same(fields: Mapping[str, Any], _number: int) -> Mapping[str, Any]:
    return fields


def summary_of_tiny(taken: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """How the few steps fare beside the many with the same decoder, the tiny one."""
    few, many = taken[f"{_FEW}, tiny decoder"], taken[f"{_MANY}, tiny decoder"]
    ratios = [own / other for own, other in zip(few, many, strict=True)]
    return {"times_20_guided_steps_with_the_tiny_decoder": round(statistics.median(ratios), 3)}


@click.command()
@click.option("--side", default=512, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--note", default="", help="What a reader must know besides, such as what else the machine was doing.")
def main(side: int, rounds: int, note: str) -> None:
    """Measure, print the summary, keep the results."""
    console, redis_server = Console(stderr=True), find_server()
    if redis_server is None:
        raise click.ClickException("this needs a redis-server")
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with started(folder / "service", redis_server, folder / "cache") as service:
            in_fresh_process(write, service.models_dir)
            service.refresh()
            taken = in_turns(service, 1, side, rounds, ways(), console, warm_up=1)
    found = {**summary(taken, _MANY), **summary_of_tiny(taken)}
    console.print({key: value for key, value in found.items() if key != "seconds"})
    machine = report.machine("cpu", available_cores()) | {"load_at_the_start": round(busy, 2)}
    told = {"machine": machine, "model": f"the layout of {_MODEL}", "size": f"{side}x{side}", "rank": _RANK, **found}
    click.echo(report.write("few_steps", told | ({"note": note} if note else {})))


if __name__ == "__main__":
    main()
