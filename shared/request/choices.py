"""What to write where a request names what is not there, as sentences."""

import difflib

from shared.catalogue.distilled import USUAL
from shared.catalogue.models import Catalogue
from shared.catalogue.samplers import SAMPLERS

_NAMES_SHOWN, _LONGEST_NAME = 50, 200


def choose_model(catalogue: Catalogue, asked: object = None) -> str:
    """What to write into `ckpt`; for the name of another kind of file, what that is."""
    other = next((each for each in catalogue.others if asked in (each.name, each.shown)), None)
    if other is not None:
        return f"'{other.name}' {other.sentence}; ask for a model, see GET /models."
    names = catalogue.choices()
    if len(names) <= _NAMES_SHOWN:
        return f"Must be the name of a model, one of: {', '.join(names)}."
    close = (
        difflib.get_close_matches(asked, names, n=3) if isinstance(asked, str) and len(asked) <= _LONGEST_NAME else []
    )
    hint = f" Like it are: {', '.join(close)}." if close else ""
    return f"Must be the name of a model; GET /models lists all of them.{hint}"


def choose_schedule(sampler: str) -> str:
    """What to write into `schedule` beside this sampler, as a sentence."""
    choices = ", ".join((USUAL.schedule, *SAMPLERS[sampler].schedules))
    return f"With the sampler {sampler} it must be one of: {choices}; see GET /samplers."
