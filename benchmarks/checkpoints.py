"""A full-size checkpoint in one file: `python -m benchmarks.checkpoints`, time and memory to load it and draw with it.

Writes Stable Diffusion 1.5 with random weights in float32 (4.3 GB, the size of the published file) into a temporary
folder, as .safetensors and as .ckpt, and loads each in a process of its own with the service's own loader.
"""

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from rich.console import Console

from benchmarks import report
from benchmarks.fresh_process import in_fresh_process, memory_gb
from shared.catalogue.entries import load_catalogue
from shared.catalogue.weights_file import SINGLE_FILES
from shared.request.sampling import SamplingParams
from shared.settings import Settings, limit_spinning
from worker.hardware.cores import available_cores

MODEL = "sd15"
PROMPT = "a photo of a cat"
_SMALL = 64


def write(folder: Path) -> int:
    """Write the model in both formats; gives the number of bytes of one."""
    import torch
    from safetensors.torch import save_file

    from benchmarks import original_layout, random_models

    weights = original_layout.original(dict(random_models.parts(MODEL)), second=False)
    torch.save({"state_dict": weights}, folder / f"{MODEL}.ckpt")
    save_file(weights, folder / f"{MODEL}.safetensors")
    return (folder / f"{MODEL}.safetensors").stat().st_size


def read(file: Path) -> dict[str, float]:
    """Read `file` and convert it, without making it ready for a device; in a fresh process, whose peak is read."""
    from worker.hardware.devices import pick_device
    from worker.hardware.variants import choose_precision, profile_for
    from worker.models.single_file import read_single_file

    device = pick_device("cpu")
    precision = choose_precision("full", profile_for("cpu", device), device)
    started = time.perf_counter()
    parts = read_single_file(load_catalogue(MODEL).default, file, precision)
    seconds, memory = time.perf_counter() - started, memory_gb()
    weights = sum(weight.nbytes for part in parts.modules for weight in part.parameters())
    return {
        "read_s": seconds,
        "weights_gb": weights / 1e9,
        "read_anonymous_gb": memory["RssAnon"],
        "peak_reading_gb": memory["VmHWM"],
    }


def measure(file: Path, size: int, steps: int, threads: int) -> dict[str, Any]:
    """Load `file` by its name in MODELS_DIR and draw, as a worker does: in a fresh process, whose peak is read.

    `load_s` is how much longer the first small image takes than the second.
    """
    from worker.engine import DenoiseRequest, Engine

    begin = memory_gb()
    settings = Settings(device="cpu", models_dir=file.parent, default_model=MODEL, torch_threads=threads)
    model = load_catalogue(MODEL).default
    place = model.place(file.parent)
    if place != file:
        raise click.ClickException(f"{place} lies in the way of {file}")
    engine = Engine(settings, load_catalogue(MODEL))
    engine.start()
    small = SamplingParams(
        model=MODEL, sampler="ddim", steps=1, guidance_scale=7.5, width=_SMALL, height=_SMALL
    )  # fmt: skip

    def seconds(params: SamplingParams) -> float:
        started = time.perf_counter()
        engine.submit(DenoiseRequest(params, PROMPT, noise_seed=0, step_seed=0), lambda *_: None).result()
        return time.perf_counter() - started

    first, again = seconds(small), seconds(small)
    loaded = memory_gb()
    drawn_s = seconds(replace(small, width=size, height=size, steps=steps))
    end = memory_gb()
    engine.stop()
    return {
        "load_s": first - again,
        "picture_s": drawn_s,
        "before_gb": begin["VmRSS"],
        "loaded_gb": loaded["RssAnon"],
        "peak_loading_gb": loaded["VmHWM"],
        "peak_drawing_gb": end["VmHWM"],
    }


@click.command()
@click.option("--size", default=256, show_default=True, help="Pixels a side.")
@click.option("--steps", default=4, show_default=True)
def main(size: int, steps: int) -> None:
    """Write, load and draw; keep the results."""
    limit_spinning()
    console, threads = Console(stderr=True), available_cores()
    with TemporaryDirectory() as name:
        console.print("writing the model with random weights, in both formats")
        both, alone = Path(name) / "both", Path(name) / "alone"
        both.mkdir()
        alone.mkdir()
        size_gb = in_fresh_process(write, both) / 1e9
        found = {}
        for ending in SINGLE_FILES:
            file = (both / f"{MODEL}{ending}").rename(alone / f"{MODEL}{ending}")
            found[ending] = in_fresh_process(read, file) | in_fresh_process(measure, file, size, steps, threads)
            file.unlink()
            console.print(f"{ending}: {found[ending]}")
    setting = {"model": MODEL, "file_gb": size_gb, "weights": "random, float32", "size": size, "steps": steps}
    path = report.write("checkpoints", {"machine": report.machine("cpu", threads), "setting": setting, "files": found})
    console.print(f"written: {path}")


if __name__ == "__main__":
    main()
