"""What the weight of a word means in this world, so that `(large:1.4)` draws larger: scenes with one weighted word.

The text encoder gathers a prompt's meaning in its last tokens, and the UNet learns to read it there: the weight of a
word in the middle would change next to nothing. A share of the training captions therefore has one, scaled just as
the service scales it, and an image that follows it.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

import torch

from demo_model.captions import COLOUR_LIST, SIZE_WORDS, caption
from demo_model.world import CENTRE_RADIUS, PLACED_RADIUS, Scene, single

#: The weights lie between this and its inverse.
STRONGEST = 1.6
#: A weighted size word scales the radius by its weight to this power, so that the strongest stays in the image.
SIZE_POWER = 1.0
#: Of several colours the weighted one is drawn in proportion to its weight to this power.
COLOUR_POWER = 12.0


@dataclass(frozen=True)
class Emphasis:
    """A word of the prompt, the weight its hidden states get, and whether the padding after the prompt is silent."""

    word: str
    weight: float
    alone: bool = False


def emphasised(rng: random.Random) -> tuple[Scene, str, Emphasis]:
    """A scene with one shape, its caption, and the word whose weight decided the size or the colour."""
    weight = math.exp(rng.uniform(-1, 1) * math.log(STRONGEST))
    scene = single(rng)
    return _sized(rng, scene, weight) if rng.random() < 0.65 else _coloured(rng, scene, weight)


def _sized(rng: random.Random, scene: Scene, weight: float) -> tuple[Scene, str, Emphasis]:
    thing, size = scene.things[0], rng.choice(("small", "large"))
    radii = CENTRE_RADIUS if thing.place == "centre" else PLACED_RADIUS
    power = SIZE_POWER if size == "large" else -SIZE_POWER
    thing = replace(thing, size=size, radius=min(0.48, radii[size] * weight**power))
    scene = replace(scene, things=(thing,))
    text = caption(scene, rng)
    word = next(word for word in SIZE_WORDS[size] if word in text.split())
    return scene, text, Emphasis(word, weight)


def _coloured(rng: random.Random, scene: Scene, weight: float) -> tuple[Scene, str, Emphasis]:
    named = rng.sample(COLOUR_LIST, rng.choice((2, 2, 3)))
    word = named[0]
    drawn = rng.choices(named, weights=[weight**COLOUR_POWER, *[1.0] * (len(named) - 1)])[0]
    rng.shuffle(named)
    thing = replace(scene.things[0], colour=drawn, size="medium", place="centre", x=0.5, y=0.5, radius=0.26)
    text = f"a {rng.choice((' or ', ' or ', ', ')).join(named)} {thing.kind}"
    return Scene(None, None, (thing,), seed=scene.seed), text, Emphasis(word, weight)


def scaled(states: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Hidden states (B, tokens, width) times the weights (B, tokens) of their tokens, the mean restored.

    The arithmetic of the A1111 web UI's emphasis, and of the service's.
    """
    before = states.mean(dim=(1, 2), keepdim=True)
    weighted = states * weights.unsqueeze(-1)
    return weighted * (before / weighted.mean(dim=(1, 2), keepdim=True))


def token_weights(ids: torch.Tensor, words: list[set[int]], weights: list[float]) -> torch.Tensor:
    """The weight of each token of `ids` (B, tokens): for each prompt its own weight on its own word's tokens."""
    rows = [
        [weight if token in word else 1.0 for token in row]
        for row, word, weight in zip(ids.tolist(), words, weights, strict=True)
    ]
    return torch.tensor(rows, device=ids.device)
