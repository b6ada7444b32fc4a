"""What each sampler makes of the demo model's prompts: `python -m benchmarks.samplers`.

The prompts and seeds are the demo model's evaluation set, the pictures are the engine's, judged by the model's judge.
A sampler that is wired wrongly draws noise, or the wrong thing, and shows here.
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
from shared.models import load_catalogue
from shared.samplers import SAMPLERS
from shared.settings import read_settings
from worker.engine import DenoiseRequest, Engine

#: The step count that people use with a sampler. Linear multistep methods of fourth order take 50, as PLMS did when
#: it came with Stable Diffusion; in 20 steps their history spans too much of the way. DPM2 a goes twice as far in each
#: step, in the logarithm of sigma, before it adds noise, and so takes twice the steps.
STEPS = 20
USUAL_STEPS = {"plms": 50, "k_lms": 50, "k_lms_ka": 50, "k_dpm_2_a": 40, "k_dpm_2_a_ka": 40}


def scores(engine: Engine, sampler: str, count: int, steps: int) -> dict[str, float]:
    """Percentages of right colour, background and shape over the first `count` prompts."""
    wanted = singles(count)
    tickets = [
        engine.submit(
            DenoiseRequest(
                model="demo", prompt=want.text, negative_prompt="", width=128, height=128, steps=steps,
                guidance_scale=7.5, eta=0.0, sampler=sampler, noise_seed=SEED + number, step_seed=SEED + number,
            ),
            lambda *_: None,
        )
        for number, want in enumerate(wanted)
    ]  # fmt: skip
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
@click.option("--count", default=100, show_default=True, help="Pictures a sampler.")
@click.option("--steps", type=int, help="The same for all; without it, each sampler's usual number.")
@click.option(
    "--sampler",
    "chosen",
    multiple=True,
    type=click.Choice(list(SAMPLERS)),
    help="Only these, and ddim; with a --name of their own.",
)
@click.option("--name", default="samplers", show_default=True, help="Of the file in benchmarks/results.")
def main(count: int, steps: int | None, chosen: tuple[str, ...], name: str) -> None:
    """Draw, judge, print a table, keep the results: after each sampler, for all of them take half an hour."""
    console = Console(stderr=True)
    settings = read_settings()
    engine = Engine(settings, load_catalogue("demo"))
    engine.start()
    found: dict[str, Any] = {}
    table = Table("sampler", "colour", "background", "shape", "steps", "worst against ddim")
    for sampler in track([each for each in SAMPLERS if not chosen or each in {"ddim", *chosen}], console=console):
        usual = steps or USUAL_STEPS.get(sampler, STEPS)
        found[sampler] = scores(engine, sampler, count, usual) | {"steps": usual}
        worst = min(found[sampler][name] - found["ddim"][name] for name in ("colour", "shape"))
        table.add_row(sampler, *(f"{value:.1f}" for value in found[sampler].values()), f"{worst:+.1f}")
        console.print(sampler, found[sampler], f"{worst:+.1f}")
        file = report.write(name, {
            "machine": report.machine(settings.device, torch.get_num_threads()),
            "setting": {"count": count, "scale": 7.5, "size": 128},
            "bar": "colour and shape within 5 points of ddim's",
            "scores": found,
        })  # fmt: skip
    engine.stop()
    console.print(table)
    click.echo(file)


if __name__ == "__main__":
    main()
