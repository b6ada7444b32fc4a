"""Whether the demo model draws what an outline shows: `python -m benchmarks.follow_outline`.

Each image is asked for with "a red shape" and the outline of a triangle of any size at any place; only the outline says
which shape, and where. The images are the engine's, judged by the model's judge.
"""

import random
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image, ImageDraw

from benchmarks import report
from demo_model import judge
from demo_model.drawing import patches
from demo_model.evaluate import SEED
from demo_model.outlines import anywhere, outline_image, recoloured
from demo_model.world import Scene
from shared.catalogue.library import Library
from shared.request.control import Control
from shared.request.sampling import SamplingParams
from shared.settings import read_settings
from worker.engine import DenoiseRequest, Engine
from worker.hardware.devices import pick_device

PROMPT, KIND, COLOUR = "a red shape", "triangle", "red"
#: Far from the seeds of the other measurements and of the training.
FIRST_SEED = SEED + 70_000
SIDE = 128
#: Overlap (intersection over union) of what is drawn with what is outlined, from which on it is there.
THERE = 0.5


@dataclass(frozen=True)
class Seen:
    """What the judge says of one image: one object, of which shape and colour, and whether it is in its outline."""

    objects: int
    shape: str
    colour: str
    overlap: float

    @property
    def right(self) -> bool:
        return (self.objects, self.shape, self.colour) == (1, KIND, COLOUR) and self.overlap >= THERE


def outlined(number: int) -> Scene:
    """The scene of the image of that number."""
    return recoloured(anywhere(random.Random(FIRST_SEED + number), KIND), COLOUR)


def request(scene: Scene, number: int, model: str, weight: float = 1.0) -> DenoiseRequest:
    """What the engine is asked for, to follow the outline of the scene."""
    params = SamplingParams(
        model=model, sampler="ddim", steps=20, guidance_scale=7.5, width=SIDE, height=SIDE, precision="full",
        controlnet=(Control(model="demo-outline", weight=weight),) if weight else (),
    )  # fmt: skip
    images = {"controlnet.0": outline_image(scene, SIDE, SIDE)} if weight else {}
    return DenoiseRequest(params, PROMPT, FIRST_SEED + number, FIRST_SEED + number, images=images)


def seen_in(image: Image.Image, scene: Scene) -> Seen:
    """What the judge says of an image that was to follow the scene's outline."""
    masks, seen = judge.find_object_masks(image), judge.look(image)
    if not masks or not seen:
        return Seen(0, "", "", 0.0)
    canvas = Image.new("L", image.size)
    ImageDraw.Draw(canvas).polygon(patches(scene, *image.size)[-1].points, fill=255)
    wanted = np.asarray(canvas) > 0
    overlap = float((masks[0] & wanted).sum() / (masks[0] | wanted).sum())
    return Seen(len(seen), seen[0].shape, seen[0].colour, overlap)


def told(seen: list[Seen]) -> dict[str, float]:
    """Percentages of the images, and the mean overlap."""
    share = {
        "right": [each.right for each in seen],
        "one object": [each.objects == 1 for each in seen],
        "triangle": [each.shape == KIND for each in seen],
        "red": [each.colour == COLOUR for each in seen],
        "there": [each.overlap >= THERE for each in seen],
    }
    percent = {name: round(100 * sum(hits) / len(hits), 1) for name, hits in share.items()}
    return {**percent, "mean overlap": round(sum(each.overlap for each in seen) / len(seen), 3)}


@click.command()
@click.option("--count", default=200, show_default=True, help="Images of each weight.")
@click.option("--weight", "weights", type=float, multiple=True, default=(1.0,), show_default=True, help="0: without.")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for the outlines and images that are not right.")
def main(count: int, weights: tuple[float, ...], keep: Path | None) -> None:
    """Draw, judge, and keep the results; those of other weights stay."""
    settings = read_settings()
    catalogue = Library(settings).catalogue
    engine = Engine(settings, catalogue)
    engine.start()
    found = report.read("follow_outline").get("scores", {})
    for weight in weights:
        scenes = [outlined(number) for number in range(count)]
        tickets = [
            engine.submit(request(scene, number, catalogue.default.name, weight), lambda *_: None)
            for number, scene in enumerate(scenes)
        ]
        seen = []
        for number, (scene, ticket) in enumerate(zip(scenes, tickets, strict=True)):
            image = ticket.result().image
            seen.append(seen_in(image, scene))
            if keep and not seen[-1].right:
                keep.mkdir(parents=True, exist_ok=True)
                outline_image(scene, SIDE, SIDE).save(keep / f"{number:03d}-outline.png")
                image.save(keep / f"{number:03d}.png")
                click.echo(f"{number}: {asdict(seen[-1])}", err=True)
        found[f"weight {weight:g}"] = {"images": count} | told(seen)
        click.echo(f"weight {weight:g}: {found[f'weight {weight:g}']}", err=True)
    engine.stop()
    file = report.write("follow_outline", {
        "machine": report.machine(pick_device(settings.device).name, torch.get_num_threads()),
        "bar": "one red triangle in its outline in 90 % of 200 images, which the prompt calls a red shape",
        "scores": found,
    })  # fmt: skip
    click.echo(file)


if __name__ == "__main__":
    main()
