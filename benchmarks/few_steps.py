"""What an accelerator gains on a full-size model: `python -m benchmarks.few_steps`, over HTTP, with random weights.

A service of real processes with one worker, started as an operator starts it, on all cores. Its model has the layout of
Stable Diffusion 1.5, its accelerator that of the LCM LoRA for it: rank 64, of all layers of the UNet. One user draws
one image in 20 guided steps, in the accelerator's 4, and in 4 of LCM without it, in turns. The times are the service's
own, from the acceptance to the end, with text and decoding: with a small model these hide what the steps gain
(`python -m benchmarks.adapters`).
"""

import os
import tempfile
from pathlib import Path

import click
from rich.console import Console

from benchmarks import random_models, report
from benchmarks.adapters import in_few_steps
from benchmarks.fresh_process import in_fresh_process
from benchmarks.served import started
from client.local.embedded_redis import find_server
from worker.hardware.cores import available_cores

_MODEL, _ACCELERATOR, _RANK = "sd15", "lcm-random", 64


def write(models: Path) -> None:
    """The model and its accelerator."""
    from tests.worker.lora_writing import EVERYWHERE, write_kohya

    random_models.write(_MODEL, models / _MODEL)
    (models / "Lora").mkdir(exist_ok=True)
    file = models / "Lora" / f"{_ACCELERATOR}.safetensors"
    # as small as trained ones, or the images overflow
    write_kohya(file, models / _MODEL, alpha=_RANK / 100, ends=EVERYWHERE, rank=_RANK, only=("unet",))


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
            found = in_few_steps(service, 1, side, rounds, console, _ACCELERATOR, warm_up=1, ckpt=_MODEL)
    console.print({key: found[key] for key in ("median_s", "times_20_guided_steps")})
    machine = report.machine("cpu", available_cores()) | {"load_at_the_start": round(busy, 2)}
    told = {"machine": machine, "model": f"the layout of {_MODEL}", "size": f"{side}x{side}", "rank": _RANK, **found}
    click.echo(report.write("few_steps", told | ({"note": note} if note else {})))


if __name__ == "__main__":
    main()
