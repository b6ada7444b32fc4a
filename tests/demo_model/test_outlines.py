"""Outlines, as the demo model's ControlNet is trained on them, and what it makes of them."""

import random
from pathlib import Path

import numpy as np
import pytest

from benchmarks.follow_outline import PROMPT, outlined, request, seen_in
from demo_model.outlines import anywhere, outline_image, recoloured, sample_outlined
from demo_model.shapes import SHAPE_NAMES
from shared.catalogue.library import Library
from shared.settings import Settings
from worker.engine import Engine


@pytest.mark.parametrize("thickness", [1, 3])
def test_an_outline_is_white_lines_around_what_is_seen(thickness: int) -> None:
    """Given a scene with one shape, when its outline is drawn, then it is white on black, around the shape alone."""
    scene = anywhere(random.Random(3), "square")
    thing = scene.things[0]
    levels = np.asarray(outline_image(scene, 128, 128, thickness))

    assert set(np.unique(levels)) == {0, 255}
    rows, columns = np.nonzero(levels[..., 0])
    assert abs(rows.mean() / 128 - thing.y) < 0.03
    assert abs(columns.mean() / 128 - thing.x) < 0.03
    assert levels[round(thing.y * 128), round(thing.x * 128)].max() == 0


def test_most_captions_leave_the_shape_to_the_outline() -> None:
    """Given scenes with their captions, when many are drawn, then about half do not name the shape, and recolouring
    changes the colour alone."""
    rng = random.Random(5)
    said = [any(shape in sample_outlined(rng)[1] for shape in SHAPE_NAMES) for _ in range(200)]
    scene = anywhere(rng)

    assert 60 <= sum(said) <= 140
    assert recoloured(scene, "red").things[0].colour == "red"
    assert recoloured(scene, scene.things[0].colour or "") == scene


@pytest.mark.full
def test_the_outline_of_a_triangle_becomes_a_red_triangle(tmp_path: Path) -> None:
    """Given outlines of triangles and "a red shape", when the engine draws them, then most are red triangles there."""
    library = Library(Settings(models_dir=tmp_path, compile_cache_dir=tmp_path, device="cpu", torch_threads=1))
    engine = Engine(Settings(models_dir=tmp_path, device="cpu", torch_threads=1), library.catalogue)
    engine.start()
    try:
        scenes = [outlined(number) for number in range(40)]
        tickets = [
            engine.submit(request(scene, number, "demo"), lambda *_: None) for number, scene in enumerate(scenes)
        ]
        seen = [seen_in(ticket.result(120).image, scene) for ticket, scene in zip(tickets, scenes, strict=True)]
    finally:
        engine.stop()

    assert PROMPT == "a red shape"
    assert sum(each.right for each in seen) >= 34
