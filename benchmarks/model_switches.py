"""What many switches between models leave in memory: `python -m benchmarks.model_switches`.

One of Stable Diffusion 1.x, one of 2.x and one of XL, narrow, from single files, take turns in an engine that has room
for one, so that each is loaded anew and drawn with. Resident memory is told after each, for every model by itself, for
they differ in size.
"""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from rich.console import Console

from benchmarks import narrow_models, report
from benchmarks.fresh_process import in_fresh_process, memory_gb
from benchmarks.original_layout import original
from shared.catalogue.entries import load_catalogue
from shared.request.sampling import SamplingParams
from shared.settings import Settings, limit_spinning

MODELS = ("sd15", "sd21", "sdxl")
_LONGEST_S = 600.0


def write(folder: Path) -> None:
    """One file a model, in float16."""
    from safetensors.torch import save_file

    for name in MODELS:
        second = name == "sd21"
        parts = narrow_models.narrow_xl_parts() if name == "sdxl" else narrow_models.narrow_parts(second)
        save_file(original({part: each.half() for part, each in parts.items()}, second), folder / f"{name}.safetensors")


def switch(folder: Path, switches: int) -> list[tuple[str, float]]:
    """Draw with the models in turns; the resident memory after each image, in GB, with the model's name."""
    from worker.engine import DenoiseRequest, Engine

    settings = Settings(device="cpu", models_dir=folder, default_model=MODELS[0], torch_threads=1, model_memory=1)
    engine = Engine(settings, load_catalogue(MODELS[0]))
    engine.start()
    params = SamplingParams(model="", sampler="k_euler", steps=1, guidance_scale=1.0, width=64, height=64)
    resident = []
    for number in range(switches):
        name = MODELS[number % len(MODELS)]
        request = DenoiseRequest(replace(params, model=name), "a photo of a cat", noise_seed=0, step_seed=0)
        engine.submit(request, lambda *_: None).result(_LONGEST_S)
        resident.append((name, memory_gb()["VmRSS"]))
    engine.stop()
    return resident


def grown(resident: list[tuple[str, float]], warm_up: int) -> dict[str, dict[str, float]]:
    """For each model its memory at first and at last, the first `warm_up` images left out, and the largest over the
    smallest."""
    found: dict[str, dict[str, float]] = {}
    for model in MODELS:
        sizes = [size for name, size in resident[warm_up:] if name == model]
        found[model] = {"first_gb": sizes[0], "last_gb": sizes[-1], "largest_over_smallest": max(sizes) / min(sizes)}
    return found


@click.command(help=__doc__)
@click.option("--switches", default=200, show_default=True)
@click.option("--warm-up", default=15, show_default=True, help="Images at the beginning that do not count.")
@click.option("--name", default="model_switches", show_default=True, help="Of the file in benchmarks/results.")
def main(switches: int, warm_up: int, name: str) -> None:
    """Measure and keep the results."""
    limit_spinning()
    with TemporaryDirectory() as folder:
        in_fresh_process(write, Path(folder))
        found: dict[str, Any] = grown(in_fresh_process(switch, Path(folder), switches), warm_up)
    setting = {"switches": switches, "warm_up": warm_up}
    path = report.write(name, {"machine": report.machine("cpu", 1), "setting": setting, "models": found})
    Console().print(found, f"written: {path}")


if __name__ == "__main__":
    main()
