"""What the models that people have take on a CPU: `python -m benchmarks.models`, with random weights.

`xl`: Stable Diffusion XL from one file in float16: seconds and memory to load it and to draw with it as a worker does;
and a forward pass and the decoding of a 1024x1024 image, against stock diffusers in float32. Each side is loaded anew
in a process of its own for every round, for two do not fit into memory; the two take turns, and ratios are of rounds.

`turbo`: the layout of SD-Turbo, 512x512: images of 1 and of 4 steps without guidance and with a tiny decoder, against
one of 20 steps with guidance, all three in turns by one engine, in seconds from the request to the image.

How long 500 files take to be listed is measured by `python -m benchmarks.model_scan`, what many switches between models
leave in memory by `benchmarks.model_switches`, and an image of 2048x2048 by `benchmarks.large_image`. `--narrow` runs
everything with narrow models, to see that it works; then nothing is kept.
"""

import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import psutil
import torch
from rich.console import Console

from benchmarks import narrow_models, random_models, report
from benchmarks.fresh_process import in_fresh_process, memory_gb
from benchmarks.original_layout import original
from shared.catalogue.entries import load_catalogue
from shared.catalogue.kinds import TINY_VAE
from shared.catalogue.models import Catalogue, OtherFile
from shared.catalogue.vaes import TINY
from shared.request.sampling import SamplingParams
from shared.settings import Settings, limit_spinning
from worker.hardware.cores import available_cores
from worker.hardware.devices import Device
from worker.hardware.variants import FULL, Precision, choose_precision, profile_for

PROMPT = "a photo of a cat"
XL, TURBO = "xl", "turbo"
STOCK = "stock"
_CPU = Device("cpu")
_TEXT, _TOKENS = "encoder_hidden_states", 77
_LONGEST_S = 3600.0
_TINY_FILE = "taesd.safetensors"
# the weights in float32, what is made of some of them, and what lies between the layers
_ROOM = 1.4


@dataclass(frozen=True)
class Case:
    """What is measured. `folder` has the models; `size` is in pixels a side."""

    folder: Path
    size: int
    threads: int


# ---- Stable Diffusion XL


def write_xl(folder: Path, narrow: bool) -> float:
    """Write `sdxl.safetensors`, and what stock diffusers reads of the same weights; gives the GB of the file."""
    from safetensors.torch import save_file

    parts: dict[str, Any] = (
        {name: part.half() for name, part in narrow_models.narrow_xl_parts().items()}
        if narrow
        else dict(random_models.xl_parts(torch.float16))
    )
    for name in ("unet", "vae"):
        parts[name].save_pretrained(folder / "stock" / name)
    file = folder / "sdxl.safetensors"
    save_file(original(parts), file)
    return file.stat().st_size / 1e9


def load_xl(case: Case) -> dict[str, float]:
    """Load the file by its name and draw, as a worker does: in a fresh process, whose peak is read.

    `load_s` is how much longer the first small image takes than the second.
    """
    before = memory_gb()
    engine, draw = _engine(case, load_catalogue("sdxl"), "sdxl")
    small = SamplingParams(model="sdxl", sampler="k_euler", steps=1, guidance_scale=1.0, width=64, height=64)
    first, again = draw(small), draw(small)
    loaded = memory_gb()
    large_s = draw(replace(small, width=case.size, height=case.size))
    end = memory_gb()
    engine.stop()
    return {
        "load_s": first - again,
        "image_of_1_step_s": large_s,
        "before_gb": before["VmRSS"],
        "loaded_gb": loaded["RssAnon"],
        "peak_loading_gb": loaded["VmHWM"],
        "peak_drawing_gb": end["VmHWM"],
    }


def forward_xl(case: Case, side: str) -> float:
    """Seconds of a forward pass of one batch item, after a small one."""
    torch.set_num_threads(case.threads)
    precision = _precision(side)
    unet = _stock_part(case, "UNet2DConditionModel", "unet", precision.denoiser)
    config = unet.config
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    told = {
        _TEXT: torch.randn(1, _TOKENS, config.cross_attention_dim, dtype=precision.denoiser),
        "text_embeds": torch.randn(1, pooled, dtype=precision.denoiser),
        "time_ids": torch.tensor([[case.size, case.size, 0, 0, case.size, case.size]], dtype=precision.denoiser),
    }
    timesteps = torch.tensor([500.0])
    if side == STOCK:
        added = {name: tensor for name, tensor in told.items() if name != _TEXT}

        def call(latents: torch.Tensor) -> object:
            return unet(latents, timesteps, told[_TEXT], added_cond_kwargs=added, return_dict=False)
    else:
        from worker.acceleration.prepare import Preparation
        from worker.families import FAMILIES

        settings = Settings(device="cpu", torch_threads=case.threads)
        vae = _stock_part(case, "AutoencoderKL", "vae", precision.others)
        prepared = Preparation(settings, _CPU, profile_for("cpu", _CPU)).prepare(unet, vae, "sdxl", case.folder)
        told[_TEXT] = prepared.project_text(told[_TEXT])
        denoise = partial(FAMILIES["sdxl"].denoise, prepared.denoiser)

        def call(latents: torch.Tensor) -> object:
            return prepared.run_batch(denoise, latents, timesteps, told)

    cells = case.size // 8
    return _warm_s(lambda side: call(torch.randn(1, 4, side, side, dtype=precision.denoiser)), cells)


def decode_xl(case: Case, side: str) -> float:
    """Seconds of the decoding of one image, after a small one."""
    torch.set_num_threads(case.threads)
    vae = _stock_part(case, "AutoencoderKL", "vae", _precision(side).others)
    if side != STOCK:
        from worker.acceleration.cpu import speed_up_vae

        vae.to(memory_format=torch.channels_last)
        speed_up_vae(vae)
    return _warm_s(lambda side: vae.decode(torch.randn(1, 4, side, side), return_dict=False), case.size // 8)


def _warm_s(call: Callable[[int], object], cells: int) -> float:
    with torch.no_grad():
        call(8)
        started = time.perf_counter()
        call(cells)
        return time.perf_counter() - started


def _stock_part(case: Case, kind: str, name: str, dtype: torch.dtype) -> Any:
    import diffusers

    return getattr(diffusers, kind).from_pretrained(str(case.folder / "stock" / name), dtype=dtype).eval()


def _precision(side: str) -> Precision:
    return choose_precision(FULL if side == STOCK else side, profile_for("cpu", _CPU), _CPU)


def measure_xl(case: Case, rounds: int, narrow: bool, console: Console) -> dict[str, Any]:
    """The figures of every side."""
    console.print("writing Stable Diffusion XL with random weights")
    file_gb = in_fresh_process(write_xl, case.folder, narrow)
    found: dict[str, Any] = {"file_gb": file_gb, "size": case.size, "rounds": rounds}
    found["worker"] = in_fresh_process(load_xl, case)
    console.print(f"a worker: {found['worker']}")
    ours = dict.fromkeys((_precision("autocast").word, FULL))
    for what, measure, float32_gb in (
        ("forward_pass", forward_xl, 1.5 * file_gb),
        ("decoding", decode_xl, 0.3),
    ):
        seconds: dict[str, list[float]] = {side: [] for side in (STOCK, *ours)}
        for _ in range(rounds):
            for side, taken in seconds.items():
                _require_memory(_ROOM * float32_gb)
                taken.append(in_fresh_process(measure, case, side))
                console.print(f"{what}, {side}: {taken[-1]:.2f} s")
        found[what] = {f"{side}_s": statistics.median(taken) for side, taken in seconds.items()} | {
            f"{side}_gain": statistics.median(
                stock / own for stock, own in zip(seconds[STOCK], seconds[side], strict=True)
            )
            for side in ours
        }
    return found


def _require_memory(wanted_gb: float) -> None:
    free = psutil.virtual_memory().available / 1e9
    if free < wanted_gb:
        raise click.ClickException(
            f"{free:.1f} GB of memory are free, and {wanted_gb:.1f} are needed: end other programs"
        )


# ---- SD-Turbo


def write_turbo(folder: Path, narrow: bool) -> None:
    """Write `sd21.safetensors`, of the layout of SD-Turbo."""
    from safetensors.torch import save_file

    parts = narrow_models.narrow_parts(second=True) if narrow else dict(random_models.parts("sd21v"))
    weights = original({name: part.half() for name, part in parts.items()}, second=True)
    save_file(weights, folder / "sd21.safetensors")
    save_file(random_models.tiny_vae().half().state_dict(), folder / _TINY_FILE)


def draw_turbo(case: Case, rounds: int) -> dict[str, Any]:
    """Seconds of each kind of image, in a fresh process; of several rounds the first warms up and does not count."""
    entry = replace(load_catalogue("sd21").default, distilled="turbo", prediction="epsilon")
    file = case.folder / _TINY_FILE
    tiny = OtherFile(
        "taesd", TINY_VAE, "", file.name, file.stat().st_size, "is a tiny VAE", file, entry.facts.latent_channels
    )
    engine, draw = _engine(case, Catalogue({entry.name: entry}, entry.name, (tiny,)), entry.name)
    usual = SamplingParams(
        model=entry.name, sampler="k_euler", steps=20, guidance_scale=7.5, width=case.size, height=case.size
    )
    few = replace(usual, guidance_scale=1.0, schedule=entry.defaults.schedule, decoder=TINY)
    kinds = {"20_steps_guided": usual, "4_steps": replace(few, steps=4), "1_step": replace(few, steps=1)}
    for params in (usual, few):
        draw(replace(params, steps=1, width=64, height=64))
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, params in kinds.items():
            taken[kind].append(draw(params))
    engine.stop()
    counted = {kind: seconds[1:] or seconds for kind, seconds in taken.items()}
    slow = counted["20_steps_guided"]
    return {f"{kind}_s": statistics.median(seconds) for kind, seconds in counted.items()} | {
        f"{kind}_gain": statistics.median(other / own for own, other in zip(counted[kind], slow, strict=True))
        for kind in ("4_steps", "1_step")
    }


def measure_turbo(case: Case, rounds: int, narrow: bool, console: Console) -> dict[str, Any]:
    """The figures of each kind of image."""
    console.print("writing the layout of SD-Turbo with random weights")
    in_fresh_process(write_turbo, case.folder, narrow)
    found = in_fresh_process(draw_turbo, case, rounds)
    console.print(f"SD-Turbo: {found}")
    return {"size": case.size, "rounds": rounds, "decoders": {"20_steps_guided": FULL, "others": TINY}} | found


# ---- both


def _engine(case: Case, catalogue: Catalogue, model: str) -> tuple[Any, Callable[[SamplingParams], float]]:
    """The engine of a CPU worker, and how to draw with it: gives the seconds from the request to the image."""
    from worker.engine import DenoiseRequest, Engine

    engine = Engine(
        Settings(device="cpu", models_dir=case.folder, default_model=model, torch_threads=case.threads), catalogue
    )
    engine.start()

    def draw(params: SamplingParams) -> float:
        started = time.perf_counter()
        request = DenoiseRequest(params, PROMPT, noise_seed=0, step_seed=0)
        engine.submit(request, lambda *_: None).result(_LONGEST_S)
        return time.perf_counter() - started

    return engine, draw


PARTS: Mapping[str, Callable[[Case, int, bool, Console], dict[str, Any]]] = {XL: measure_xl, TURBO: measure_turbo}
SIZES = {XL: 1024, TURBO: 512}


@click.command()
@click.option("--part", "chosen", multiple=True, type=click.Choice(list(PARTS)), help="Of the above; else both.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--narrow", is_flag=True, help="See above.")
@click.option("--note", default="", help="What a reader must know besides, such as what else the machine was doing.")
def main(chosen: tuple[str, ...], rounds: int, narrow: bool, note: str) -> None:
    """Write the models into a temporary folder, measure, keep the results; those of the other part stay."""
    limit_spinning()
    console, threads = Console(stderr=True), available_cores()
    found: dict[str, Any] = {} if narrow else report.read("models")
    for name in chosen or PARTS:
        with TemporaryDirectory() as folder:
            case = Case(Path(folder), 64 if narrow else SIZES[name], threads)
            figures = PARTS[name](case, rounds, narrow, console)
        found[name] = {"machine": report.machine("cpu", threads), **figures} | ({"note": note} if note else {})
        if not narrow:
            click.echo(report.write("models", found))
    if narrow:
        click.echo(json.dumps(found))


if __name__ == "__main__":
    main()
