"""What clients ask for at once: the same of every side, and other prompts and seeds in every round."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shared.settings import DUMMY_API_KEY

SIDE, STEPS, SCALE = 128, 20, 7.5
MIXED_SIDES, MIXED_STEPS, MIXED_SCALES = (128, 192), (10, 15, 20, 25, 30), (4.0, 7.5, 10.0)
_COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "white", "black")
_SHAPES = ("circle", "square", "triangle", "star", "heart", "cross")


@dataclass(frozen=True)
class Load:
    """So many users, each with a connection, who send one request after the other until there are `requests` in all."""

    users: int
    requests: int
    mixed: bool = False

    @property
    def name(self) -> str:
        return "1 alone" if self.users == 1 else f"{self.users} {'mixed' if self.mixed else 'equal'}"

    def bodies(self, round_number: int) -> list[dict[str, Any]]:
        """The requests, in the order in which they are sent; the mix is the same in every round."""
        words, mix = random.Random(f"{self.name}, round {round_number}"), random.Random(self.name)
        found = []
        for _ in range(self.requests):
            colour, background = words.sample(_COLOURS, 2)
            side, steps, scale = SIDE, STEPS, SCALE
            if self.mixed:
                side, steps, scale = mix.choice(MIXED_SIDES), mix.choice(MIXED_STEPS), mix.choice(MIXED_SCALES)
            found.append({
                "prompt": f"a {colour} {words.choice(_SHAPES)} on a {background} background",
                "seed": words.randrange(2**32), "W": side, "H": side, "ddim_steps": steps, "scale": scale,
                "sampler": "ddim", "api_key": DUMMY_API_KEY,
                "synchronous_request": True, "return_base64": True, "skip_save": True,
            })  # fmt: skip
        return found


@dataclass(frozen=True)
class Plan:
    """What is measured: the loads that both rivals get (equal, mixed, alone), and those for LitServe only.

    `waiting` names how the threads of the rivals wait, of `sides.WAITING`.
    """

    main: Sequence[Load]
    further: Sequence[Load]
    waiting: Sequence[str]

    @property
    def all(self) -> list[Load]:
        return [*self.main, *self.further]


FULL = Plan(
    main=(Load(16, 16), Load(16, 16, mixed=True), Load(1, 4)),
    further=tuple(Load(users, users, mixed) for users in (4, 8, 32) for mixed in (False, True)),
    waiting=("spinning", "yielding"),
)
QUICK = Plan(main=(Load(2, 2), Load(2, 2, mixed=True), Load(1, 1)), further=(), waiting=("yielding",))
