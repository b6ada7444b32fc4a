"""Captions of scenes in many wordings, with words the model must learn to ignore.

`caption(scene, rng)` says everything about a scene that its sampler did not leave at the default; colour and
shape may stay unsaid, because they are drawn evenly then.
"""

from __future__ import annotations

import random

from demo_model.shapes import SHAPE_NAMES
from demo_model.world import Land, Scene, Thing

COLOUR_WORDS = {"gray": ("gray", "grey"), "purple": ("purple", "purple", "violet")}
SIZE_WORDS = {"small": ("small", "small", "little", "tiny"), "large": ("large", "large", "big", "huge")}
SHAPE_WORDS = {
    "circle": ("circle", "circle", "circle", "disc", "round circle"),
    "square": ("square",),
    "triangle": ("triangle",),
    "star": ("star", "star", "five pointed star"),
    "heart": ("heart", "heart", "heart shape"),
    "ring": ("ring", "ring", "hoop"),
    "cross": ("cross", "cross", "plus sign"),
    "crescent": ("crescent", "crescent", "crescent shape"),
    "house": ("house", "house", "home"),
    "tree": ("tree",),
    "boat": ("boat", "boat", "ship"),
}
UNSAID = ("thing", "object", "shape", "something")
PREFIXES = ("a photo of", "a drawing of", "a picture of", "an illustration of", "a painting of", "an image of")
PLACE_WORDS = {
    "left": ("on the left", "on the left side", "at the left", "to the left", "on the left of the picture", "left"),
    "right": (
        "on the right",
        "on the right side",
        "at the right",
        "to the right",
        "on the right of the picture",
        "right",
    ),
    "top": ("at the top", "at the top of the picture", "on top", "in the top half", "near the top", "top"),
    "bottom": ("at the bottom", "at the bottom of the picture", "in the bottom half", "near the bottom", "bottom"),
}
RELATION_WORDS = {
    "left of": ("left of", "to the left of", "on the left of", "left of"),
    "right of": ("right of", "to the right of", "on the right of", "right of"),
    "above": ("above", "over", "on top of", "above"),
    "below": ("below", "under", "beneath", "below"),
    "beside": ("and", "next to", "beside", "with", "and"),
}
#: Words without a meaning in this world. A prompt that holds them draws as if they were absent.
IGNORED = (
    "scaly", "scaley", "shiny", "beautiful", "dragon", "guitar", "robot", "cat", "dog", "horse",
    "knight", "wizard", "castle", "flower", "bird", "fish", "car", "old", "fluffy", "magical",
    "ancient", "wooden", "golden", "plastic", "glossy", "furry", "tall", "happy", "sad", "cute",
    "pretty", "mysterious", "epic", "famous",
)  # fmt: skip
ENDINGS = (
    "highly detailed", "natural light", "4k", "8k", "trending on artstation", "flat colors", "masterpiece",
    "best quality", "sharp focus", "cinematic", "digital art", "watercolor", "playing a guitar", "minimalist",
    "oil on canvas", "soft shadows", "vector art", "by a famous artist", "centered", "simple", "storybook style",
)  # fmt: skip


def _invented(rng: random.Random) -> str:
    """A word nobody has said before, so that the pieces of unknown words mean nothing."""
    if rng.random() < 0.2:
        return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz0123456789éüñ日本жя") for _ in range(rng.randint(1, 8)))
    syllables = rng.randint(1, 3)
    return "".join(rng.choice("bcdfghjklmnprstvwz") + rng.choice("aeiouy") + rng.choice(("", "n", "r", "l", "st"))
                   for _ in range(syllables))  # fmt: skip


def ignored_word(rng: random.Random) -> str:
    """One word that means nothing here: common in prompts, or invented."""
    return rng.choice(IGNORED) if rng.random() < 0.5 else _invented(rng)


def _article(words: str, rng: random.Random, bare: bool) -> str:
    if bare:
        return words
    if rng.random() < 0.1:
        return f"the {words}"
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _colour(name: str, rng: random.Random) -> str:
    return rng.choice(COLOUR_WORDS.get(name, (name,)))


def thing_words(thing: Thing, rng: random.Random, *, bare: bool, quiet: float) -> str:
    """A thing in words; with chance `quiet` its colour, and with the same its shape, stays unsaid."""
    words = []
    if thing.size != "medium":
        words.append(rng.choice(SIZE_WORDS[thing.size]))
    colour = thing.colour is not None and not (thing.kind in SHAPE_NAMES and rng.random() < quiet)
    if rng.random() < 0.06:
        words.append(ignored_word(rng))
    if colour and thing.colour is not None:
        words.append(_colour(thing.colour, rng))
    if rng.random() < 0.06:
        words.append(ignored_word(rng))
    if thing.kind in SHAPE_NAMES and rng.random() < quiet:
        words.append(rng.choice(UNSAID) if rng.random() < 0.5 else ignored_word(rng))
    else:
        words.append(rng.choice(SHAPE_WORDS[thing.kind]))
    return _article(" ".join(words), rng, bare)


def _place(place: str, rng: random.Random) -> str:
    if " " not in place:
        return rng.choice(PLACE_WORDS[place])
    return rng.choice((f"in the {place} corner", f"at the {place}", f"in the {place}", place, f"{place} corner"))


def _background(name: str, rng: random.Random) -> str:
    colour = _colour(name, rng)
    article = "an" if colour[0] in "aeiou" else "a"
    return rng.choice(
        (f"on {article} {colour} background", f"on {article} {colour} background", f"on {colour} background",
         f"{colour} background", f"with {article} {colour} background", f"on {colour}",
         f"against {article} {colour} background", f"in front of {article} {colour} background")
    )  # fmt: skip


def _join(parts: list[str], rng: random.Random) -> str:
    comma = ", " if rng.random() < 0.4 else " "
    return comma.join(part for part in parts if part)


def _flat(scene: Scene, rng: random.Random) -> str:
    bare = rng.random() < 0.25
    behind = _background(scene.background, rng) if scene.background else ""
    if len(scene.things) == 1:
        thing = scene.things[0]
        plain = scene.background is None and thing.place == "centre" and thing.size == "medium"
        if plain and thing.colour and rng.random() < 0.2:
            others = rng.sample([c for c in COLOUR_LIST if c != thing.colour], rng.randint(0, 3))
            named = [_colour(c, rng) for c in (thing.colour, *others)]
            rng.shuffle(named)
            return rng.choice((", ", ", ", " or ")).join(named) + rng.choice(("", "", f" {thing.kind}"))
        core = [thing_words(thing, rng, bare=bare, quiet=0.07)]
        if thing.place != "centre":
            core.append(_place(thing.place, rng))
    else:
        core = [_pair(scene, rng, bare)]
    first = behind and rng.random() < 0.12
    return _join([behind, *core] if first else [*core, behind], rng)


COLOUR_LIST = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray",
)  # fmt: skip


def _pair(scene: Scene, rng: random.Random, bare: bool) -> str:
    first, second = (thing_words(thing, rng, bare=bare, quiet=0.03) for thing in scene.things)
    relation = scene.relation or "beside"
    places = tuple(thing.place for thing in scene.things)
    if relation != "beside" and rng.random() < 0.25:
        said = [
            f"{words} {rng.choice(PLACE_WORDS[place][:3])}"
            for words, place in zip((first, second), places, strict=True)
        ]
        return rng.choice((" and ", ", ", " with ")).join(said)
    if relation == "beside" and rng.random() < 0.15:
        return f"{first}, {second}"
    return f"{first} {rng.choice(RELATION_WORDS[relation])} {second}"


def _sky(land: Land, rng: random.Random, *, things: bool) -> str:
    if land.sky == "moon":
        return rng.choice(
            ("under the moon", "with a moon", "and the moon", "under the moon at night", "in the moonlight", "moon",
             "at night with a moon")
        )  # fmt: skip
    if land.sky == "sun":
        return rng.choice(
            ("under the sun", "with a sun", "and the sun", "on a sunny day", "in the sun", "sun", "sunny")
        )
    if land.night:
        return rng.choice(
            ("at night", "at night", "under the night sky", "in the night", "under the stars", "night sky")
        )
    return rng.choice(("", "", "", "", "by day", "under a blue sky")) if things else ""


def _story(scene: Scene, land: Land, rng: random.Random) -> str:
    bare = rng.random() < 0.2
    said = rng.choice((" and ", " and ", " next to ", ", ")).join(
        thing_words(thing, rng, bare=bare, quiet=0.04) for thing in scene.things
    )
    shapes_only = all(thing.kind in SHAPE_NAMES for thing in scene.things)
    if land.ground == "none":
        if said:
            return f"{said} in the {'night sky' if land.night else rng.choice(('sky', 'blue sky'))}"
        if land.sky:
            name = rng.choice(("full moon", "moon", "moon")) if land.sky == "moon" else "sun"
            return _article(name, rng, bare) + rng.choice(("", "", " in the sky"))
        night = ("a night sky", "the night sky", "night sky", "a starry sky", "stars at night", "night")
        return rng.choice(night if land.night else ("a blue sky", "the sky", "a clear sky", "blue sky"))
    ground = ""
    if land.ground == "beach":
        ground = rng.choice(("on a beach", "on the beach", "at the beach", "by the beach")) if said else "a beach"
    elif land.ground == "sea":
        if not said:
            ground = rng.choice(("the sea", "a sea", "the ocean", "sea", "a calm sea"))
        elif scene.things[0].kind == "house":
            ground = rng.choice(("by the sea", "by the sea", "near the sea", "by the ocean", "at the sea"))
        else:
            ground = rng.choice(("", "on the sea", "on the water", "at sea", "sailing on the sea", "on the ocean"))
    elif said and (rng.random() < 0.25 or (shapes_only and not land.mountain)):
        ground = rng.choice(("on grass", "on the grass", "in a field", "in a meadow", "in a green field"))
    mountain = ""
    if land.mountain:
        name = rng.choice(("a mountain", "mountains", "the mountains"))
        alone = not said and not ground
        mountain = name if alone else rng.choice(("with", "in front of", "near", "and")) + " " + name
        if not said and ground and rng.random() < 0.5:
            return _join([name, rng.choice(("by ", "and ")) + ground, _sky(land, rng, things=True)], rng)
    return _join([said, ground, mountain, _sky(land, rng, things=True)], rng)


def caption(scene: Scene, rng: random.Random) -> str:
    """One of the many captions of a scene."""
    words = _story(scene, scene.land, rng) if scene.land is not None else _flat(scene, rng)
    if rng.random() < 0.3:
        words = f"{rng.choice(PREFIXES)} {words}"
    if rng.random() < 0.12:
        ending = ", ".join(rng.sample(ENDINGS, rng.randint(1, 2))) if rng.random() < 0.7 else ignored_word(rng)
        words = f"{words}{rng.choice((', ', ' '))}{ending}"
    return words
