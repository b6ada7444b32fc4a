"""One side of `benchmarks.releases`, with the engine that PYTHONPATH names. Reads commands, a line each, and answers
each with a line of JSON: `alone`, `many <requests>` (seconds), `draw <requests> <file>` (images into an .npz)."""

import json
import random
import sys
import time
from dataclasses import replace

from shared.settings import Settings, limit_spinning

limit_spinning()  # before torch is imported, as a worker does

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from shared.request.sampling import SamplingParams  # noqa: E402
from worker.engine import DenoiseRequest, Engine  # noqa: E402

try:
    from shared.catalogue.entries import load_catalogue
except ModuleNotFoundError:  # a side of before 2026-11-29
    from shared.catalogue.models import load_catalogue  # type: ignore[attr-defined,no-redef]

_PROMPTS = ("a red circle on a blue background", "a green star", "a house and a tree", "a (yellow:1.4) heart")
_TIMEOUT_S = 600.0
_SAMPLERS = (
    "ddim", "plms", "k_euler", "k_euler_a", "k_lms", "k_lms_ka", "k_heun", "k_dpm_2", "k_dpm_2_ka", "k_dpm_2_a",
    "k_dpm_2_a_ka", "k_dpmpp_2m", "k_dpmpp_2m_ka", "k_dpmpp_sde", "k_dpmpp_sde_ka", "k_dpmpp_2s_a", "k_dpmpp_2s_a_ka",
    "k_dpm_fast", "k_dpm_ad",
)  # fmt: skip


def equal(number: int, precision: str | None) -> DenoiseRequest:
    """The request that is timed."""
    params = SamplingParams(
        model="demo", sampler="ddim", steps=20, guidance_scale=7.5, width=128, height=128, precision=precision
    )
    return DenoiseRequest(params, _PROMPTS[number % len(_PROMPTS)], noise_seed=number, step_seed=number)


def mixed(number: int, precision: str | None) -> DenoiseRequest:
    """One of many that differ in everything; every third starts from an image."""
    rng = random.Random(number)
    request = equal(number, precision)
    side = rng.choice((64, 128, 192))
    params = replace(
        request.params, sampler=_SAMPLERS[number % len(_SAMPLERS)], steps=rng.randint(4, 30), width=side, height=side,
        guidance_scale=rng.choice((1.0, 4.0, 7.5)),
    )  # fmt: skip
    if number % 3:
        return replace(request, params=params)
    values = np.random.default_rng(number).integers(0, 255, (side, side, 3), dtype=np.uint8)
    return replace(request, params=replace(params, strength=0.6), init_image=Image.fromarray(values))


def seconds(engine: Engine, requests: list[DenoiseRequest]) -> float:
    """From now to the end of the last."""
    started = time.perf_counter()
    tickets = [engine.submit(request, lambda *_: None) for request in requests]
    for ticket in tickets:
        ticket.result(_TIMEOUT_S)
    return time.perf_counter() - started


def main(precision: str | None) -> None:
    """Serve commands until the input ends."""
    engine = Engine(Settings(device="cpu"), load_catalogue("demo"))
    engine.start()
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "alone":
            answer = seconds(engine, [equal(1, precision)])
        elif command == "many":
            answer = seconds(engine, [equal(number, precision) for number in range(int(arguments[0]))])
        else:
            requests = [mixed(number, precision) for number in range(int(arguments[0]))]
            images = [engine.submit(request, lambda *_: None).result(_TIMEOUT_S).image for request in requests]
            np.savez(arguments[1], *[np.asarray(image) for image in images])
            answer = float(len(images))
        print(json.dumps(answer), flush=True)  # noqa: T201 - the answer
    engine.stop()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
