"""The evaluation's prompts: fixed by seed, none of their seeds used in training."""

from __future__ import annotations

import random
from dataclasses import dataclass

from demo_model.palette import COLOUR_NAMES

#: The shapes the shape score is about.
JUDGED_SHAPES = ("circle", "square", "triangle", "star", "heart", "ring")
PAIR_WORDS = {
    "left of": ("left", "right"),
    "right of": ("right", "left"),
    "above": ("top", "bottom"),
    "below": ("bottom", "top"),
}
PLACES = {"on the left": "left", "on the right": "right", "at the top": "top", "at the bottom": "bottom"}


@dataclass(frozen=True)
class Single:
    """A prompt for one object; `background` is "paper" and `place` "" where it states none."""

    text: str
    colour: str
    shape: str
    background: str
    place: str


@dataclass(frozen=True)
class Pair:
    """A prompt for two objects and the half of the image where each belongs."""

    text: str
    colours: tuple[str, str]
    shapes: tuple[str, str]
    sides: tuple[str, str]


def with_article(words: str) -> str:
    """The words after "a" or "an"."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def singles(count: int, seed: int = 1) -> list[Single]:
    """One object of a stated colour; three in four state the background, one in five a place, some a style."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        colour, behind = rng.sample(COLOUR_NAMES, 2)
        shape = rng.choice(JUDGED_SHAPES)
        place = rng.choice(tuple(PLACES)) if rng.random() < 0.2 else ""
        stated = rng.random() < 0.75
        text = rng.choice(("", "", "a photo of ", "a drawing of ")) + with_article(f"{colour} {shape}")
        text += f" {place}" if place else ""
        text += f" on {with_article(behind)} background" if stated else ""
        found.append(Single(text, colour, shape, behind if stated else "paper", PLACES.get(place, "")))
    return found


def pairs(count: int, seed: int = 2) -> list[Pair]:
    """Two objects of different colours and their relation; one in three states the background."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        first, second, behind = rng.sample(COLOUR_NAMES, 3)
        shapes = (rng.choice(JUDGED_SHAPES), rng.choice(JUDGED_SHAPES))
        relation = rng.choice(tuple(PAIR_WORDS))
        text = f"{with_article(f'{first} {shapes[0]}')} {relation} {with_article(f'{second} {shapes[1]}')}"
        text += f" on {with_article(behind)} background" if rng.random() < 1 / 3 else ""
        found.append(Pair(text, (first, second), shapes, PAIR_WORDS[relation]))
    return found


#: The contact sheet's prompts, eight a row.
SHEET = (
    "a red circle", "a blue square", "a yellow star", "a green triangle",
    "a pink heart", "a purple ring", "an orange cross", "a white crescent",
    "a red circle on a blue background", "a yellow star on a black background",
    "a white heart on a red background", "a black square on a white background",
    "a green ring on a pink background", "an orange triangle on a purple background",
    "a brown crescent on a yellow background", "a gray cross on a green background",
    "a small red star", "a large red star", "a small blue circle on a yellow background",
    "a large green heart on a white background", "a tiny black ring", "a huge orange square",
    "a small purple triangle on a gray background", "a big yellow circle on a blue background",
    "a red circle on the left", "a red circle on the right", "a red circle at the top", "a red circle at the bottom",
    "a blue star in the top left corner", "a blue star in the bottom right corner",
    "a green square on the left on a black background", "a pink heart at the top on a blue background",
    "a red circle left of a blue square", "a red circle right of a blue square",
    "a yellow star above a green heart", "a yellow star below a green heart",
    "a purple ring next to an orange triangle", "a white square and a black circle on a red background",
    "a pink crescent left of a brown cross on a white background",
    "a blue heart above a red heart on a yellow background",
    "a house", "a red house", "a tree", "a house and a tree", "a boat on the sea", "a red boat",
    "a mountain", "the sea", "a beach", "a night sky", "a full moon", "the sun",
    "a house by the sea", "a house by the sea at night", "a tree under the moon", "a boat under the moon at night",
    "a house in front of mountains on a sunny day", "a tree on the beach", "a mountain at night with a moon",
    "a red heart on a beach",
    "a photo of a red scaley dragon playing a guitar on a beach, natural light",
    "", "red, orange, pink", "something blue, highly detailed, trending on artstation",
)  # fmt: skip
