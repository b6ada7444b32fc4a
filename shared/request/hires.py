"""Drawing in two passes: small, then enlarged and drawn again. What a request holds of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from shared.catalogue.models import MOST_STEPS, Catalogue
from shared.catalogue.upscalers import FILTERS, LANCZOS, NEAREST, find_upscaler, objection_to

AUTO, OFF = "auto", "off"
LATENT = "latent"


@dataclass(frozen=True)
class Upscaler:
    """What enlarges between the passes, beside networks: what A1111 calls it, and the strength of the second pass that
    is usual after it."""

    label: str
    strength: float


UPSCALERS: Mapping[str, Upscaler] = MappingProxyType({
    # its soft edges want to be drawn again
    LATENT: Upscaler("Latent", 0.5),
    LANCZOS: Upscaler(FILTERS[LANCZOS], 0.4),
    NEAREST: Upscaler(FILTERS[NEAREST], 0.5),
})  # fmt: skip
DEFAULT_UPSCALER = LANCZOS


def upscaler_called(name: str, catalogue: Catalogue | None = None) -> str | None:
    """The upscaler of that name, ours or A1111's, or a network of the catalogue, in any case; None where there is
    none."""
    wanted = name.strip().casefold()
    if ours := next((each for each, it in UPSCALERS.items() if wanted in (each, it.label.casefold())), None):
        return ours
    network = find_upscaler(catalogue, name) if catalogue else None
    return network.name if network else None


def label_of(upscaler: str) -> str:
    """What A1111 calls an upscaler: networks have their own names."""
    return UPSCALERS[upscaler].label if upscaler in UPSCALERS else upscaler


def objection_to_upscaler(name: str, catalogue: Catalogue) -> str | None:
    """What keeps the upscaler of that name from enlarging between the passes, as a sentence; None: nothing does."""
    if name.strip().casefold() == LATENT:
        return None
    return objection_to(catalogue, name, beside=(LATENT,))


def steps_of_which(run: int, strength: float) -> int:
    """The least number of steps of which the share `strength` is so many that `run`, as A1111 counts; or the most."""
    steps = int(min(run / strength, MOST_STEPS))
    return min(steps if int(steps * strength) >= run else steps + 1, MOST_STEPS)


@dataclass(frozen=True)
class Hires:
    """The two passes of an image that is drawn first at `first_width` x `first_height` pixels.

    The second pass is an image to image at the full size, from what the `upscaler` makes of the first: of its `steps`
    the share `strength` (0 < x <= 1) runs. The upscaler is one of `UPSCALERS`, or a network by its name.
    """

    first_width: int
    first_height: int
    steps: int
    strength: float
    upscaler: str

    @property
    def network(self) -> str | None:
        """The network that enlarges the first pass, by its name; None where none does."""
        return None if self.upscaler in UPSCALERS else self.upscaler

    @property
    def steps_of_second(self) -> int:
        """How many steps the second pass runs, rounded as the stock image-to-image pipeline rounds."""
        return min(max(int(self.steps * self.strength), 1), self.steps)


@dataclass(frozen=True, kw_only=True)
class AskedHires:
    """What a request says of its two passes; None where it does not.

    It has `scale`, or `width` and `height`, where its W and H are those of the first pass; else `first_width` and
    `first_height`, and its W and H are those of the image.
    """

    scale: float | None = None
    width: int | None = None
    height: int | None = None
    first_width: int | None = None
    first_height: int | None = None
    steps: int | None = None
    strength: float | None = None
    upscaler: str = DEFAULT_UPSCALER

    @property
    def first_is_said(self) -> bool:
        """Whether W and H are those of the image, beside which the first pass' are said."""
        return self.first_width is not None
