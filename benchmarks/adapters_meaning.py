"""Whether the demo model's adapters do what they were trained for: `python -m benchmarks.adapters_meaning`.

The images are the engine's, in mixed batches as a worker draws them, in float32; the demo model's judge looks at them.
A style is judged at weights 1 and 0.5, and at 0 the image must be the one without it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from benchmarks import report
from demo_model import bell, judge
from demo_model.evaluate import SEED
from demo_model.night import LIGHT, TINT
from demo_model.prompts import Single, singles
from shared.catalogue.library import Library
from shared.request.sampling import SamplingParams
from shared.settings import Settings, read_settings
from worker.engine import DenoiseRequest, Engine
from worker.hardware.devices import pick_device

#: Far from the seeds of the other measurements and of the training.
FIRST_SEED = SEED + 80_000
ADAPTERS = ("demo-sketch", "demo-night", "demo-bell", "demo-lcm")
WEIGHTS = (1.0, 0.5)
#: Of the area within its outline, a drawn outline covers less than this share (a star's is nearly all of it); a filled
#: thing covers all.
HOLLOW = 0.92
#: Half the width of a gap that may be in an outline, in pixels.
GAP = 3
#: A night's image has less than this share of the light that the same image has by day.
DARK = 0.67
BARS = {
    "styles": "at weight 1 in 90 % of the images; at weight 0 every image is the one without the LoRA",
    "demo-bell": "a bell in 80 % of the images",
    "demo-lcm": "4 steps without guidance: colour and shape within 8 points of 20 with guidance",
}
GUIDED: Mapping[str, Any] = {"sampler": "ddim", "steps": 20, "guidance_scale": 7.5}
FEW: Mapping[str, Any] = {"sampler": "lcm", "steps": 4, "guidance_scale": 1.0}
SHORT: Mapping[str, Any] = {"steps": 4, "guidance_scale": 1.0}


def hollow(image: Image.Image) -> bool:
    """Whether the largest thing of an image is an outline, empty inside; it may have small gaps."""
    mask = judge.find_object_mask(image)
    return mask is not None and bool(mask.sum() < HOLLOW * filled(mask).sum())


def filled(mask: judge.Mask) -> judge.Mask:
    """The mask with all that its outline goes around, its small gaps closed first."""
    closed: judge.Mask = ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(mask, GAP), iterations=GAP))
    return closed[GAP:-GAP, GAP:-GAP] | mask


def shape_of(image: Image.Image) -> str:
    """The shape of the largest thing's outline, whatever is inside; "" without any."""
    mask = judge.find_object_mask(image)
    return "" if mask is None else judge.classify_shape(filled(mask))


def colour_of(image: Image.Image) -> str:
    """The colour of the largest thing; "" without any."""
    mask = judge.find_object_mask(image)
    return "" if mask is None else judge.dominant_colour(image, mask)


def light_of(image: Image.Image, day: Image.Image) -> float:
    """The share of the light of another image that this one has."""
    return float(np.asarray(image).mean()) / float(np.asarray(day).mean())


def dark(image: Image.Image, day: Image.Image) -> bool:
    """Whether an image has a night's light; `day` is the same without the style."""
    return light_of(image, day) < DARK


def by_day(image: Image.Image, weight: float) -> Image.Image:
    """An image of a night of that weight in the colours of the day, by which the judge knows them."""
    levels = (np.asarray(image) - weight * np.array(TINT)) / (1 - (1 - LIGHT) * weight)
    return Image.fromarray(levels.round().clip(0, 255).astype(np.uint8))


def same(image: Image.Image, other: Image.Image) -> bool:
    """Whether images differ by a rounding at the most: who shares a batch differs from run to run."""
    return int(np.abs(np.asarray(image, dtype=int) - np.asarray(other, dtype=int)).max()) <= 1


class Studio:
    """Draws prompts in the engine, all at once; the image of each place among them has its own seed."""

    def __init__(self, settings: Settings) -> None:
        self._catalogue = Library(settings).catalogue
        self.engine = Engine(settings, self._catalogue)
        self.engine.start()

    def draw(self, texts: Sequence[str], lora: str = "", weight: float = 1.0, **params: Any) -> list[Image.Image]:
        """The images (128x128) of the prompts with a LoRA, or with none."""
        loras = [{"name": lora, "weight": weight, "text_weight": weight}] if lora else []
        told = {"model": "demo", "width": 128, "height": 128, "precision": "full", "loras": loras}
        wanted = SamplingParams.of({**told, **GUIDED, **params})
        tickets = [
            self.engine.submit(DenoiseRequest(wanted, text, FIRST_SEED + at, FIRST_SEED + at), lambda *_: None)
            for at, text in enumerate(texts)
        ]
        return [ticket.result().image for ticket in tickets]


def percent(hits: Sequence[bool]) -> float:
    """The share of hits, to a tenth."""
    return round(100 * sum(hits) / max(1, len(hits)), 1)


def prompts(count: int) -> list[Single]:
    """One thing each, but no rings, which are hollow of themselves."""
    return [want for want in singles(2 * count, seed=15) if want.shape != "ring"][:count]


def things(images: Sequence[Image.Image], wanted: Sequence[Single]) -> dict[str, float]:
    """In how many images the shape and the colour are right, in percent."""
    pairs = list(zip(images, wanted, strict=True))
    return {
        "shape right": percent([shape_of(image) == want.shape for image, want in pairs]),
        "colour right": percent([colour_of(image) == want.colour for image, want in pairs]),
    }


def unchanged(studio: Studio, texts: Sequence[str], lora: str) -> float:
    """In how many images a LoRA of weight 0 changes nothing, in percent; few steps are enough to show a difference."""
    pairs = zip(studio.draw(texts, lora, 0.0, **SHORT), studio.draw(texts, **SHORT), strict=True)
    return percent([same(*pair) for pair in pairs])


def sketch_scores(studio: Studio, wanted: Sequence[Single]) -> dict[str, Any]:
    """By weight: how many images are outlines and what of them is right; at 0, how many are those without the LoRA."""
    texts, found = [want.text for want in wanted], dict[str, Any]()
    for weight in WEIGHTS:
        images = studio.draw(texts, "demo-sketch", weight)
        found[f"weight {weight:g}"] = {"hollow": percent([hollow(each) for each in images])} | things(images, wanted)
    return found | {"weight 0": {"unchanged": unchanged(studio, texts, "demo-sketch")}}


def night_scores(studio: Studio, wanted: Sequence[Single], plain: Sequence[Image.Image]) -> dict[str, Any]:
    """By weight: how many images are dark, their light beside that of `plain`, and what of them is right; at 0, how
    many are those without the LoRA."""
    texts, found = [want.text for want in wanted], dict[str, Any]()
    for weight in WEIGHTS:
        images = studio.draw(texts, "demo-night", weight)
        pairs = list(zip(images, plain, strict=True))
        found[f"weight {weight:g}"] = {
            "dark": percent([dark(*pair) for pair in pairs]),
            "mean light": round(statistics.mean(light_of(*pair) for pair in pairs), 3),
            "shape right": things(images, wanted)["shape right"],
            "colour right by day's light": things([by_day(each, weight) for each in images], wanted)["colour right"],
        }
    return found | {"weight 0": {"unchanged": unchanged(studio, texts, "demo-night")}}


def bell_scores(studio: Studio, count: int) -> dict[str, Any]:
    """How many are bells, and of the right colour, by the embedding and by a word that the model does not know."""
    found = dict[str, dict[str, float]]()
    for what, word, number in (("the embedding", "demo-bell", count), ("an unknown word", "coil", count // 4)):
        asked = bell.prompts(number, word)
        images = studio.draw([text for text, _ in asked])
        right = [colour_of(image) == colour for image, (_, colour) in zip(images, asked, strict=True)]
        bells = percent([bell.is_bell(image) for image in images])
        found[what] = {"images": number, "bell": bells, "colour right": percent(right)}
    return found


def lcm_scores(studio: Studio, wanted: Sequence[Single], plain: Sequence[Image.Image]) -> dict[str, Any]:
    """What is right with 20 guided steps, and with 4 unguided ones with and without the LoRA."""
    texts = [want.text for want in wanted]
    return {
        "20 steps of DDIM, guidance 7.5": things(plain, wanted),
        "4 steps of LCM with the LoRA": things(studio.draw(texts, "demo-lcm", **FEW), wanted),
        "4 steps of LCM without it": things(studio.draw(texts, **FEW), wanted),
    }


@click.command()
@click.option("--count", default=200, show_default=True, help="Images of each adapter and weight.")
@click.option(
    "--only", multiple=True, type=click.Choice(ADAPTERS),
    help="Only these; what was measured of the others stays.",
)  # fmt: skip
def main(count: int, only: tuple[str, ...]) -> None:
    """Draw, judge, and keep the results."""
    settings = read_settings()
    studio, wanted = Studio(settings), prompts(count)
    plain = studio.draw([want.text for want in wanted]) if {"demo-night", "demo-lcm"} & set(only or ADAPTERS) else []
    measured: Mapping[str, Callable[[], dict[str, Any]]] = {
        "demo-sketch": lambda: sketch_scores(studio, wanted),
        "demo-night": lambda: night_scores(studio, wanted, plain),
        "demo-bell": lambda: bell_scores(studio, count),
        "demo-lcm": lambda: lcm_scores(studio, wanted, plain),
    }
    found = report.read("adapters_meaning").get("scores", {})
    for name in only or measured:
        found[name] = {"images": count} | measured[name]()
        click.echo(f"{name}: {found[name]}", err=True)
        file = report.write("adapters_meaning", {
            "machine": report.machine(pick_device(settings.device).name, torch.get_num_threads()),
            "bars": BARS, "scores": {name: found[name] for name in measured if name in found},
        })  # fmt: skip
    studio.engine.stop()
    click.echo(file)


if __name__ == "__main__":
    main()
