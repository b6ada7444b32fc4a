"""Whether a large image shows what was asked for once, in one pass and in two: `python -m benchmarks.one_picture`.

The prompts ask for one object, as in the demo model's evaluation set; the images are the engine's, judged by the
model's judge. A way is `off` (one pass), `auto`, or `<upscaler>:<strength>` of the second pass.
"""

from typing import Any

import click
import torch

from benchmarks import report
from demo_model import judge
from demo_model.evaluate import SEED
from demo_model.prompts import Single, singles
from shared.catalogue.entries import load_catalogue
from shared.catalogue.models import Model
from shared.request.hires import AUTO, OFF, AskedHires
from shared.request.hires_plan import Asked, first_size, planned
from shared.request.sampling import SamplingParams
from shared.settings import read_settings
from worker.engine import DenoiseRequest, Engine
from worker.hardware.devices import pick_device

#: Far from the seeds of the other measurements.
FIRST_SEED = SEED + 60_000


def asked_by(way: str, size: int, model: Model) -> Asked:
    """What a request says for a way."""
    if way in (AUTO, OFF):
        return way
    upscaler, _, strength = way.partition(":")
    first = first_size((size, size), model)
    return AskedHires(first_width=first[0], first_height=first[1], upscaler=upscaler, strength=float(strength))


def scores(engine: Engine, model: Model, way: str, size: int, wanted: list[Single], steps: int) -> dict[str, float]:
    """Percentages: exactly one object drawn, and that one right in colour, shape and background."""
    passes = planned(asked_by(way, size, model), (size, size), steps, model)
    params = SamplingParams(
        model=model.name, sampler="ddim", steps=steps, guidance_scale=7.5, width=size, height=size, precision="full",
        hires=passes.hires,
    )  # fmt: skip
    tickets = [
        engine.submit(DenoiseRequest(params, want.text, FIRST_SEED + number, FIRST_SEED + number), lambda *_: None)
        for number, want in enumerate(wanted)
    ]
    one = right = 0
    for want, ticket in zip(wanted, tickets, strict=True):
        image = ticket.result().image
        seen = judge.look(image)
        one += len(seen) == 1
        right += (
            len(seen) == 1
            and (seen[0].colour, seen[0].shape) == (want.colour, want.shape)
            and judge.background_colour(image) == want.background
        )
    return {name: round(100 * hits / len(wanted), 1) for name, hits in (("one", one), ("right", right))}


@click.command()
@click.option("--count", default=40, show_default=True, help="Images of a size and way.")
@click.option("--size", "sizes", type=int, multiple=True, default=(384, 512), show_default=True, help="Pixels a side.")
@click.option("--way", "ways", multiple=True, default=(AUTO, OFF), show_default=True, help="See above.")
@click.option("--steps", default=20, show_default=True)
def main(count: int, sizes: tuple[int, ...], ways: tuple[str, ...], steps: int) -> None:
    """Draw, judge, and keep the results after each way; those of other sizes, ways and counts stay."""
    settings = read_settings()
    catalogue = load_catalogue("demo")
    model = catalogue.default
    wanted = [want for want in singles(3 * count, seed=3) if not want.place][:count]
    engine = Engine(settings, catalogue)
    engine.start()
    found: dict[str, Any] = report.read("one_picture").get("scores", {})
    for size in sizes:
        for way in ways:
            found[f"{size} {way} {steps} steps"] = told = {"images": count} | scores(
                engine, model, way, size, wanted, steps
            )
            click.echo(f"{size} {way}: {told}", err=True)
            file = report.write("one_picture", {
                "machine": report.machine(pick_device(settings.device).name, torch.get_num_threads()),
                "bar": "exactly one object in 85 % of the images of 384 and of 512 pixels, drawn as `auto` has it",
                "scores": found,
            })  # fmt: skip
    engine.stop()
    click.echo(file)


if __name__ == "__main__":
    main()
