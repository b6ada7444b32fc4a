"""Measure the model: `python -m demo_model.evaluate` reproduces the card's table.

Every score is taken by `judge` on images painted with 20 steps at guidance scale 7.5, from prompts and seeds that
training never used. `--part` paints that share of the images only, and says so in the results.
"""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from demo_model import judge, prompts
from demo_model.drawing import draw
from demo_model.emphasis import Emphasis
from demo_model.painter import Painter
from demo_model.release import WEIGHTS
from demo_model.world import Scene, Thing, single

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "demo_model_evaluation.json"
#: Far from every seed of the training script.
SEED = 7_000_000


@dataclass(frozen=True)
class Score:
    """One line of the table: a share of `count` images (or, with a `unit`, a measured value) and its bar."""

    what: str
    value: float
    count: int
    bar: float | None = None
    unit: str = "%"

    @property
    def reached(self) -> str:
        """Whether the bar is reached, in a word; nothing where there is none."""
        if self.bar is None:
            return ""
        return "yes" if (self.value <= self.bar if self.unit == "s" else self.value >= self.bar) else "no"


def percent(what: str, hits: list[bool], bar: float | None = None) -> Score:
    """The share of hits."""
    return Score(what, round(100 * sum(hits) / max(1, len(hits)), 1), len(hits), bar)


def judge_scores(count: int) -> list[Score]:
    """How often the judge names the colour, background and shape of images drawn by the world itself."""
    hits = []
    for seed in range(count):
        scene = single(random.Random(SEED + seed))
        image, thing = draw(scene), scene.things[0]
        seen = judge.look(image)
        right = len(seen) == 1 and (seen[0].colour, seen[0].shape) == (thing.colour, thing.kind)
        hits.append(right and judge.background_colour(image) == (scene.background or "paper"))
    return [percent("the judge itself, on drawn images", hits, 99)]


def single_scores(painter: Painter, count: int) -> list[Score]:
    """One object: its colour, its background, its shape, its place, and that it is one."""
    wanted = prompts.singles(count)
    images = painter.paint([w.text for w in wanted], [SEED + i for i in range(count)])
    colour, background, shape, place, alone = [], [], [], [], []
    for want, image in zip(wanted, images, strict=True):
        seen = judge.look(image)
        colour.append(bool(seen) and seen[0].colour == want.colour)
        background.append(judge.background_colour(image) == want.background)
        shape.append(bool(seen) and seen[0].shape == want.shape)
        alone.append(len(seen) == 1)
        if want.place:
            x, y = (seen[0].x, seen[0].y) if seen else (0.5, 0.5)
            place.append({"left": x < 0.42, "right": x > 0.58, "top": y < 0.42, "bottom": y > 0.58}[want.place])
    return [
        percent("one object: colour right", colour, 97),
        percent("one object: background right", background, 97),
        percent("one object: shape right", shape, 92),
        percent("one object: exactly one drawn", alone),
        percent("one object: stated place right", place),
    ]


def pair_scores(painter: Painter, count: int) -> list[Score]:
    """Two objects: each half shows its colour; and, more strictly, also its shape."""
    wanted = prompts.pairs(count)
    images = painter.paint([w.text for w in wanted], [SEED + 10_000 + i for i in range(count)])
    colours, shapes = [], []
    for want, image in zip(wanted, images, strict=True):
        seen = judge.look(image)
        sides = zip(want.colours, want.sides, strict=True)
        colours.append(all(judge.half_colour(image, side) == colour for colour, side in sides))
        names = sorted(s.shape for s in seen[:2])
        shapes.append(colours[-1] and len(seen) == 2 and names == sorted(want.shapes))
    return [
        percent("two objects: both colours on the right sides", colours, 85),
        percent("two objects: colours, sides and both shapes right", shapes),
    ]


def negative_scores(painter: Painter, count: int) -> list[Score]:
    """ "a circle" with negative "red, orange, pink" shows a circle and none of these colours."""
    banned = ("red", "orange", "pink")
    images = painter.paint(["a circle"] * count, [SEED + 20_000 + i for i in range(count)], ", ".join(banned))
    plain = painter.paint(["a circle"] * (count // 2), [SEED + 20_000 + i for i in range(count // 2)])

    def clear(image: Image.Image) -> bool:
        seen = judge.look(image)
        named = {sight.colour for sight in seen} | {judge.background_colour(image)}
        return bool(seen) and seen[0].shape == "circle" and not named & set(banned)

    return [
        percent("negative prompt: a circle, and none of the unwanted colours", [clear(image) for image in images], 95),
        percent("(the same without the negative prompt)", [clear(image) for image in plain]),
    ]


def emphasis_scores(painter: Painter, count: int) -> list[Score]:
    """Weights move the image: the choice between two colours, and the size of a large object."""
    scores = []
    seeds = [SEED + 30_000 + i for i in range(count)]
    for weight in (1 / 1.4, 1.0, 1.4):
        images = painter.paint(["a red or blue circle"] * count, seeds, emphasis=Emphasis("red", weight))
        red = [bool(seen) and seen[0].colour == "red" for seen in map(judge.look, images)]
        scores.append(percent(f'"a (red:{weight:.2f}) or blue circle" is red', red))
    for weight in (1 / 1.4, 1.0, 1.4):
        images = painter.paint(["a large red circle"] * count, seeds, emphasis=Emphasis("large", weight))
        areas = [seen[0].area if seen else 0.0 for seen in map(judge.look, images)]
        area = round(100 * statistics.mean(areas), 1)
        scores.append(Score(f'"a (large:{weight:.2f}) red circle" covers', area, count, unit="% of the image"))
    return scores


def image_scores(painter: Painter, count: int) -> list[Score]:
    """Image to image: a drawn red circle at the left on yellow, repainted a little and much.

    A little: under a prompt for other things at the same place, and under one that puts them elsewhere. Much: under
    the latter.
    """
    sources, seeds = [], [SEED + 40_000 + i for i in range(count)]
    for seed in seeds:
        thing = Thing("circle", "red", "medium", "left", 0.28, 0.5, 0.2, 0.0)
        sources.append(draw(Scene("yellow", None, (thing,), seed=seed)))
    same_place, elsewhere = (
        f"a green square {place} on a purple background" for place in ("on the left", "on the right")
    )

    def overlaps(text: str) -> list[float]:
        found = []
        for source, image in zip(sources, painter.repaint(sources, [text] * count, seeds, 0.35), strict=True):
            before, after = judge.find_object_mask(source), judge.find_object_mask(image)
            found.append(judge.overlap(before, after) if before is not None and after is not None else 0.0)
        return found

    followed = []
    for image in painter.repaint(sources, [elsewhere] * count, seeds, 0.9):
        seen = judge.look(image)
        right = bool(seen) and seen[0].colour == "green" and seen[0].shape == "square" and seen[0].x > 0.5
        followed.append(right and judge.background_colour(image) == "purple")
    kept, moved = overlaps(same_place), overlaps(elsewhere)
    return [
        percent(
            "img2img 0.35, other things at the same place: layout kept (overlap above 0.6)", [o > 0.6 for o in kept]
        ),
        Score("the same: mean overlap", round(statistics.mean(kept), 3), count, unit=""),
        percent("img2img 0.35, the prompt moves the thing: layout kept all the same", [o > 0.6 for o in moved]),
        percent("img2img 0.9: colour, shape, place and background follow the prompt", followed),
    ]


def size_scores(painter: Painter, count: int) -> list[Score]:
    """One object and not copies of it, with its colours, at other sizes."""
    scores = []
    for size in ((64, 64), (192, 128), (128, 192), (256, 256), (344, 512), (512, 512)):
        part = max(4, count * 128 * 128 // (size[0] * size[1])) if size[0] * size[1] > 128 * 128 else count
        wanted = [want for want in prompts.singles(3 * part, seed=3) if not want.place][:part]
        images = painter.paint([w.text for w in wanted], [SEED + 50_000 + i for i in range(len(wanted))], size=size)
        hits = []
        for want, image in zip(wanted, images, strict=True):
            seen = judge.look(image)
            right = len(seen) == 1 and (seen[0].colour, seen[0].shape) == (want.colour, want.shape)
            hits.append(right and judge.background_colour(image) == want.background)
        scores.append(percent(f"{size[0]}x{size[1]}: one object, all of it right", hits))
    return scores


def time_scores(painter: Painter) -> list[Score]:
    """Seconds for one image, guidance included, through the stock pipeline; the median of seven."""
    seconds = []
    for seed in range(8):
        started = time.perf_counter()
        painter.paint(["a red circle on a blue background"], [SEED + seed])
        seconds.append(time.perf_counter() - started)
    return [Score("128x128, 20 steps, guidance, CPU", round(statistics.median(seconds[1:]), 2), 7, 1.0, "s")]


def table(scores: list[Score]) -> str:
    """The scores as a Markdown table."""
    lines = ["| what | measured | bar | reached | images |", "|---|---|---|---|---|"]
    for score in scores:
        unit = " %" if score.unit == "%" else f" {score.unit}".rstrip()
        relation = "<=" if score.unit == "s" else ">="
        bar = "" if score.bar is None else f"{relation} {score.bar:g}{unit}"
        lines.append(f"| {score.what} | {score.value:g}{unit} | {bar} | {score.reached} | {score.count} |")
    return "\n".join(lines)


@click.command()
@click.option("--model", type=click.Path(path_type=Path, exists=True), default=WEIGHTS, help="The model folder.")
@click.option("--part", default=1.0, show_default=True, help="Share of the full number of images.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, help="Where the results go, as JSON.")
@click.option(
    "--only", multiple=True,
    help="Parts to run: judge, single, pair, negative, emphasis, image, size, time. The file's other lines stay.",
)  # fmt: skip
@click.option("--device", default="cpu", show_default=True)
@click.option("--threads", default=2, show_default=True)
def main(model: Path, part: float, out: Path, only: tuple[str, ...], device: str, threads: int) -> None:
    """Paint, judge, and write the table."""
    torch.set_num_threads(threads)
    console = Console(stderr=True)
    painter = Painter(model, device=device)

    def full(count: int) -> int:
        return max(4, round(count * part))

    parts: dict[str, Callable[[], list[Score]]] = {
        "judge": lambda: judge_scores(full(500)),
        "single": lambda: single_scores(painter, full(500)),
        "pair": lambda: pair_scores(painter, full(300)),
        "negative": lambda: negative_scores(painter, full(200)),
        "emphasis": lambda: emphasis_scores(painter, full(60)),
        "image": lambda: image_scores(painter, full(60)),
        "size": lambda: size_scores(painter, full(60)),
        "time": lambda: time_scores(painter),
    }
    earlier = json.loads(out.read_text(encoding="utf-8"))["scores"] if only and out.exists() else []
    scores: list[Score] = []
    for name, measure in parts.items():
        if only and name not in only:
            continue
        with console.status(f"{name} ..."):
            found = measure()
        scores += found
        rows = Table(title=name)
        for heading in ("what", "measured", "bar", "reached"):
            rows.add_column(heading)
        for score in found:
            rows.add_row(
                score.what,
                f"{score.value:g} {score.unit}",
                "" if score.bar is None else f"{score.bar:g}",
                score.reached,
            )
        console.print(rows)
    lines = {line["what"]: line for line in (*earlier, *(asdict(s) | {"reached": s.reached} for s in scores))}
    out.parent.mkdir(parents=True, exist_ok=True)
    machine = {"cores": os.cpu_count(), "processor": platform.machine(), "torch": torch.__version__, "threads": threads}
    report = {
        "sampler": "ddim", "steps": painter.steps, "scale": painter.scale, "size": "128x128", "part": part,
        "machine": machine, "scores": list(lines.values()),
    }  # fmt: skip
    out.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    click.echo(table(scores))


if __name__ == "__main__":
    main()
