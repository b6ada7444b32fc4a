"""One turn of `benchmarks.host_work`, with the engine that PYTHONPATH names; prints its figures as JSON.

The denoiser is a stand-in that takes the same short time for any batch, so that the engine shares passes. Whatever the
engine does between two of its calls is work of the host.
"""

import importlib
import json
import sys
import threading
import time
from typing import Any

from shared.settings import Settings, limit_spinning

limit_spinning()  # before torch is imported, as a worker does

import torch  # noqa: E402

from shared.catalogue.samplers import SAMPLERS  # noqa: E402
from shared.request.sampling import SamplingParams  # noqa: E402
from worker.engine import DenoiseRequest, Engine  # noqa: E402
from worker.families import FAMILIES  # noqa: E402

try:
    from shared.catalogue.entries import load_catalogue
except ModuleNotFoundError:  # a side of before 2026-11-29
    from shared.catalogue.models import load_catalogue  # type: ignore[attr-defined,no-redef]

SIDE = 512
_PASS_S = 0.03
_PIXELS_A_LATENT = 8
_GUIDED_ITEMS = 2
_ADAPTIVE = "own:dpm_adaptive"
_TIMEOUT_S = 600.0


class StandIn:
    """Takes the place of a family's forward pass and decoder, and remembers when the passes were."""

    def __init__(self) -> None:
        self.passes: list[tuple[float, float, int]] = []
        """Begin and end, and the number of batch items; an engine may split a batch over several at the same time."""

    def denoise(self, _denoiser: Any, latents: torch.Tensor, *_: Any) -> torch.Tensor:
        begun = time.perf_counter()
        prediction = torch.zeros_like(latents)
        time.sleep(_PASS_S)
        self.passes.append((begun, time.perf_counter(), len(latents)))
        return prediction

    def to_pixels(self, _vae: Any, latents: torch.Tensor) -> torch.Tensor:
        height, width = latents.shape[-2:]
        return torch.zeros(len(latents), 3, height * _PIXELS_A_LATENT, width * _PIXELS_A_LATENT)

    def put_in(self) -> None:
        for family in FAMILIES.values():
            object.__setattr__(family, "denoise", self.denoise)
            object.__setattr__(family, "to_pixels", self.to_pixels)


class Window:
    """The time in which no request begins or ends: from a fifth of the first one's steps to its end."""

    def __init__(self) -> None:
        self.start = self.end = self.cpu_s = 0.0

    def step(self, step: int, steps: int) -> None:
        """A request has made this step."""
        if not self.start and step >= steps / 5:
            self.start, self.cpu_s = time.perf_counter(), time.process_time()
        if not self.end and step >= steps:
            self.end, self.cpu_s = time.perf_counter(), time.process_time() - self.cpu_s


def run(engine: Engine, stand_in: StandIn, samplers: list[str], steps: int) -> dict[str, Any]:
    """One request for each sampler, all at once; milliseconds of the host for a step of all of them.

    Where not all share a pass, a step of all takes several.
    """
    window, lock = Window(), threading.Lock()
    stand_in.passes.clear()

    def on_step(step: int, steps: int) -> None:
        with lock:
            window.step(step, steps)

    tickets = []
    for number, sampler in enumerate(samplers):
        params = SamplingParams(model="demo", sampler=sampler, steps=steps, guidance_scale=7.5, width=SIDE, height=SIDE)
        request = DenoiseRequest(params, "a house by the sea", noise_seed=number, step_seed=number)
        tickets.append(engine.submit(request, on_step))
    for ticket in tickets:
        ticket.result(_TIMEOUT_S)
    start, end = window.start, window.end
    inside = [(begun, ended, items) for begun, ended, items in stand_in.passes if start <= begun and ended <= end]
    done = sum(items for *_, items in inside) / (_GUIDED_ITEMS * len(samplers))
    return {
        "steps": round(done, 1),
        "outside_ms": 1000 * (end - start - covered(inside)) / done,
        "cpu_ms": 1000 * window.cpu_s / done,
        "items_a_call": round(sum(items for *_, items in inside) / len(inside), 1),
    }


def covered(passes: list[tuple[float, float, int]]) -> float:
    """Seconds in which at least one of the passes was under way."""
    found, until = 0.0, 0.0
    for begun, ended, _ in sorted(passes):
        found += max(0.0, ended - max(begun, until))
        until = max(until, ended)
    return found


def admit_at_once() -> None:
    """Let all that wait in before the next pass, where the engine admits some at a time."""
    admission: Any = importlib.import_module("worker.engine.admission")
    if hasattr(admission, "_ADMISSION_S"):
        admission._ADMISSION_S = _TIMEOUT_S


def main(steps: int, counts: list[int]) -> None:
    """Measure all cases: each once to learn the step times and to build what is kept, then in earnest."""
    stand_in = StandIn()
    stand_in.put_in()
    admit_at_once()
    engine = Engine(Settings(), load_catalogue("demo"))
    engine.start()
    mixed = [name for name, sampler in SAMPLERS.items() if sampler.implementation != _ADAPTIVE]  # it ends when it likes
    found = {}
    try:
        for count in counts:
            for name, samplers in {"ddim": ["ddim"], "mixed": mixed}.items():
                if count == 1 and name == "mixed":
                    continue
                asked = [samplers[number % len(samplers)] for number in range(count)]
                run(engine, stand_in, asked, steps)
                found[f"{count} {name}"] = run(engine, stand_in, asked, steps)
    finally:
        engine.stop()
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), [int(count) for count in sys.argv[2:]])
