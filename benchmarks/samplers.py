"""What each sampler makes of the demo model's prompts: `python -m benchmarks.samplers`.

The prompts and seeds are the demo model's evaluation set, the images are the engine's, in float32, judged by the
model's judge.
A sampler that is wired wrongly draws noise, or the wrong thing, and shows here.

A sampler that is wired rightly can also be off, with too few steps: guidance makes the differential equation stiff, and
an explicit method whose steps are too long for that oscillates. Fourth order linear multistep (plms, k_lms) bears steps
of 0.3 over the equation's rate, Euler's method of 2 (Hairer & Wanner, "Solving Ordinary Differential Equations II",
V.1). So the step count is raised until the scores are ddim's, and a run with a low `--scale` tells the two cases apart.
"""

from typing import Any

import click
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import report
from demo_model import judge
from demo_model.evaluate import SEED
from demo_model.prompts import singles
from shared.catalogue.entries import load_catalogue
from shared.catalogue.samplers import SAMPLERS
from shared.request.sampling import SamplingParams
from shared.settings import read_settings
from worker.engine import DenoiseRequest, Engine
from worker.hardware.devices import pick_device

#: The counts that people use: of today's methods, of PLMS and LMS when they came with Stable Diffusion, of the patient.
STEPS = (20, 50, 100)
#: How many points a score may be below ddim's.
BAR = 5.0
REFERENCE = "ddim"


def scores(engine: Engine, sampler: str, count: int, steps: int, scale: float) -> dict[str, float]:
    """Percentages of right colour, background and shape over the first `count` prompts."""
    wanted = singles(count)
    params = SamplingParams(
        model="demo", sampler=sampler, steps=steps, guidance_scale=scale, width=128, height=128, precision="full"
    )
    tickets = [
        engine.submit(
            DenoiseRequest(params, want.text, noise_seed=SEED + number, step_seed=SEED + number), lambda *_: None
        )
        for number, want in enumerate(wanted)
    ]
    colour = background = shape = 0
    for want, ticket in zip(wanted, tickets, strict=True):
        image = ticket.result().image
        seen = judge.look(image)
        colour += bool(seen) and seen[0].colour == want.colour
        shape += bool(seen) and seen[0].shape == want.shape
        background += judge.background_colour(image) == want.background
    return {
        name: round(100 * hits / count, 1)
        for name, hits in (("colour", colour), ("background", background), ("shape", shape))
    }


@click.command()
@click.option("--count", default=100, show_default=True, help="Images a sampler and step count.")
@click.option("--steps", type=int, multiple=True, default=STEPS, show_default=True, help="Tried until the bar is held.")
@click.option("--scale", default=7.5, show_default=True, help="Of the guidance.")
@click.option(
    "--sampler",
    "samplers",
    type=click.Choice(list(SAMPLERS)),
    multiple=True,
    metavar="NAME",
    help="Only these; what was measured of the others stays.",
)
@click.option("--name", default="samplers", show_default=True, help="Of the file in benchmarks/results.")
def main(count: int, steps: tuple[int, ...], scale: float, samplers: tuple[str, ...], name: str) -> None:
    """Draw, judge, print a table, keep the results: after each sampler, for all of them take half an hour."""
    console = Console(stderr=True)
    settings = read_settings()
    engine = Engine(settings, load_catalogue("demo"))
    engine.start()
    setting = {"count": count, "scale": scale, "size": 128}
    kept = report.read(name) if samplers else {}
    if kept and kept["setting"] != setting:
        raise click.UsageError(f"what is kept in results/{name}.json was measured otherwise: {kept['setting']}")
    found: dict[str, Any] = kept.get("scores", {})
    # what a sampler draws does not depend on the machine
    reference: dict[str, float] = found[REFERENCE]["steps"][str(steps[0])] if found else {}
    chosen = samplers or (REFERENCE, *(each for each in SAMPLERS if each != REFERENCE))
    table = Table("sampler", "steps", "colour", "background", "shape", "worst against ddim")
    for sampler in track(chosen, console=console):
        entry = SAMPLERS[sampler]
        tries: dict[int, dict[str, float]] = {}
        enough = None
        # one that chooses its steps itself is given any number
        for number in steps if entry.evaluations_per_step else steps[:1]:
            tries[number] = scores(engine, sampler, count, number, scale)
            reference = reference or tries[number]
            worst = min(tries[number][what] - reference[what] for what in ("colour", "shape"))
            table.add_row(sampler, str(number), *(f"{value:.1f}" for value in tries[number].values()), f"{worst:+.1f}")
            if worst >= -BAR:
                enough = number
                break
        console.print(sampler, "enough:", enough, tries)
        found[sampler] = {"enough": enough, "steps": tries}
        file = report.write(name, {
            "machine": report.machine(pick_device(settings.device).name, torch.get_num_threads()),
            "setting": setting,
            "bar": f"colour and shape within {BAR:g} points of ddim's with {steps[0]} steps",
            "scores": found,
        })  # fmt: skip
    engine.stop()
    console.print(table)
    click.echo(file)


if __name__ == "__main__":
    main()
