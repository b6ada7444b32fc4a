"""2048x2048 with Stable Diffusion 1.x in little memory: `python -m benchmarks.large_image`, with random weights.

A worker of the variant `optimized` has one part of a model on its device at a time: the text encoder, the denoiser for
one batch item, the VAE for one tile. Here each part runs once on the CPU in 16 bits, made ready as for a GPU, in a
process of its own: what it takes is its weights, and what this process had more at its peak than before. A GPU's own
libraries come on top, and its kernels may take other scratch memory than those of a CPU.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console

from benchmarks import random_models, report
from benchmarks.fresh_process import in_fresh_process, taken_meanwhile_gb
from shared.catalogue.families import FAMILY_FACTS
from shared.settings import Settings, limit_spinning
from worker.hardware.cores import available_cores
from worker.hardware.devices import Device
from worker.hardware.variants import PROFILES

MODEL, FAMILY = "sd15", "sd1"
PARTS = ("text_encoder", "unet", "vae")
_HALF = torch.bfloat16
_TOKENS, _TRAINED = 77, 512


@dataclass(frozen=True)
class Case:
    """`size` in pixels a side."""

    size: int
    threads: int


def run_part(case: Case, name: str) -> dict[str, float]:
    """What one part takes, in GB, and its seconds; after a small run, so that what is made once does not count."""
    torch.set_num_threads(case.threads)
    with torch.inference_mode():
        part = next(each for part, each in random_models.parts(MODEL) if part == name).to(_HALF).eval()
        cells = case.size // FAMILY_FACTS[FAMILY].downsampling_factor
        call = _CALLS[name](part)
        call(_TRAINED // FAMILY_FACTS[FAMILY].downsampling_factor // 8)
        started = time.perf_counter()
        taken = taken_meanwhile_gb(lambda: call(cells))
        seconds = time.perf_counter() - started
    weights = sum(weight.nbytes for weight in part.state_dict().values()) / 1e9
    return {"weights_gb": weights, "besides_gb": taken, "together_gb": weights + taken, "seconds": seconds}


def _encoding(encoder: Any) -> Callable[[int], object]:
    return lambda _cells: encoder(torch.ones(1, _TOKENS, dtype=torch.long))


def _denoising(unet: Any) -> Callable[[int], object]:
    from worker.acceleration.prepare import Preparation

    text = torch.randn(1, _TOKENS, unet.config.cross_attention_dim, dtype=_HALF)
    prepared = Preparation(Settings(), Device("cuda"), PROFILES["optimized"]).prepare(
        unet, torch.nn.Identity(), MODEL, "random"
    )
    return lambda cells: prepared.denoiser(
        torch.randn(1, 4, cells, cells, dtype=_HALF), torch.tensor([500.0]), text, return_dict=False
    )


def _decoding(vae: Any) -> Callable[[int], object]:
    from worker.vae.tiling import TiledVae

    vae.to(memory_format=torch.channels_last)
    factor = FAMILY_FACTS[FAMILY].downsampling_factor
    tiled = TiledVae(vae, _TRAINED // factor, factor)
    return lambda cells: tiled.decode(torch.randn(1, 4, cells, cells, dtype=_HALF))


_CALLS: dict[str, Callable[[Any], Callable[[int], object]]] = dict(
    zip(PARTS, (_encoding, _denoising, _decoding), strict=True)
)


@click.command(help=__doc__)
@click.option("--size", default=2048, show_default=True, help="Pixels a side.")
@click.option("--keep/--no-keep", default=True, help="Write the results.")
def main(size: int, keep: bool) -> None:
    """Measure and write `results/large_image.json`."""
    limit_spinning()
    console, case = Console(stderr=True), Case(size, available_cores())
    found: dict[str, dict[str, float]] = {}
    for name in PARTS:
        found[name] = in_fresh_process(run_part, case, name)
        console.print(name, found[name])
    peak = max(part["together_gb"] for part in found.values())
    results = {"model": MODEL, "size": size, "weights": "random, bfloat16", "parts": found, "peak_gb": peak}
    console.print(f"peak: {peak:.2f} GB")
    if keep:
        path: Path = report.write("large_image", {"machine": report.machine("cpu", case.threads), **results})
        console.print(f"written: {path}")


if __name__ == "__main__":
    main()
