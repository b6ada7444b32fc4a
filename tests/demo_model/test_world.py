"""The drawing world: its scenes, its images and its captions agree with each other."""

import random

import numpy as np
import pytest

from demo_model import judge
from demo_model.captions import COLOUR_WORDS, SHAPE_WORDS, caption
from demo_model.drawing import LABELS, draw, label_map
from demo_model.palette import COLOUR_NAMES, COLOURS, PAPER, colour_word
from demo_model.world import PLACES, pair, sample_scene, single, story


def test_same_seed_same_scene_image_and_caption() -> None:
    """Given one seed, everything made from it is the same each time."""
    for seed in range(20):
        first, second = sample_scene(seed), sample_scene(seed)
        assert first == second
        assert draw(first).tobytes() == draw(second).tobytes()
        assert caption(first, random.Random(seed)) == caption(second, random.Random(seed))


def test_different_seeds_differ() -> None:
    """Fifty seeds give (nearly) fifty different captions."""
    assert len({caption(sample_scene(seed), random.Random(seed)) for seed in range(50)}) > 45


@pytest.mark.parametrize(("width", "height"), [(64, 64), (128, 128), (72, 136), (256, 128), (512, 512)])
def test_an_image_has_the_size_asked_for(width: int, height: int) -> None:
    """Any width and height are drawn, and the label map fits them."""
    scene = sample_scene(5)
    assert draw(scene, width, height).size == (width, height)
    assert label_map(scene, width, height).shape == (height, width)


def test_every_colour_word_is_nearest_to_its_own_colour() -> None:
    """A colour's canonical RGB is judged to be that colour, and paper is none of them."""
    assert [colour_word(COLOURS[name]) for name in COLOUR_NAMES] == list(COLOUR_NAMES)
    assert colour_word(PAPER) == "paper"


def test_single_scenes_show_what_they_say() -> None:
    """One thing of the stated colour lies at the stated place on the stated background."""
    for seed in range(60):
        scene = single(random.Random(seed))
        thing, seen = scene.things[0], judge.look(draw(scene))
        assert [s.colour for s in seen] == [thing.colour]
        assert judge.background_colour(draw(scene)) == (scene.background or "paper")
        x, y = PLACES[thing.place]
        assert abs(seen[0].x - x) < 0.16
        assert abs(seen[0].y - y) < 0.16


def test_pairs_stand_on_their_sides() -> None:
    """Both things of a pair show their colours on their own sides of the image."""
    for seed in range(60):
        scene = pair(random.Random(seed))
        for thing in scene.things:
            assert judge.half_colour(draw(scene), thing.place) == thing.colour


def test_captions_name_colours_shapes_and_backgrounds() -> None:
    """What is not drawn evenly is said: the background always, colour and shape nearly always, never a wrong shape."""
    said = 0
    for seed in range(300):
        rng = random.Random(seed)
        scene = single(rng)
        words = caption(scene, rng)
        thing = scene.things[0]
        if scene.background:
            assert any(word in words for word in COLOUR_WORDS.get(scene.background, (scene.background,)))
        said += any(word in words for word in SHAPE_WORDS[thing.kind])
        for other in ("triangle", "square", "heart"):
            assert other == thing.kind or other not in words
    assert said > 240


def test_stories_name_their_land() -> None:
    """A caption of a beach, a night or a mountain says so."""
    for seed in range(200):
        rng = random.Random(seed)
        scene = story(rng)
        words = caption(scene, rng)
        assert scene.land is not None
        if scene.land.ground == "beach":
            assert "beach" in words
        if scene.land.mountain:
            assert "mountain" in words
        if scene.land.night:
            assert any(word in words for word in ("night", "moon", "star"))


def test_label_map_marks_the_thing() -> None:
    """The label map holds the drawn shape's label, where the shape is."""
    scene = single(random.Random(3))
    labels = label_map(scene, 64, 64)
    assert set(np.unique(labels)) == {0, LABELS.index(scene.things[0].kind)}
