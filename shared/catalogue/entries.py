"""The entries of `models.toml`: ours and the operator's."""

import tomllib
from dataclasses import replace
from pathlib import Path

from shared.catalogue.distilled import DISTILLATIONS, NOT_DISTILLED
from shared.catalogue.entry_values import flag_of, names_of, number_of, value_of, word_of
from shared.catalogue.families import FAMILY_FACTS
from shared.catalogue.layouts import LAYOUTS
from shared.catalogue.models import AVERAGED, MOST_SCALE, MOST_STEPS, PLAIN, SOURCES, Catalogue, Model
from shared.catalogue.recognition import PREDICTIONS
from shared.catalogue.samplers import SAMPLERS, canonical_name, wire_names
from shared.catalogue.schedules import canonical_schedule, schedule_names
from shared.catalogue.weights_file import SINGLE_FILES
from shared.settings import Settings
from shared.text_files import NotUtf8, read_text_file

CATALOGUE_FILE = Path(__file__).with_name("models.toml")
OWN_CATALOGUE = "models.toml"
"""The name of a file under MODELS_DIR with the operator's own entries."""
_TWO_PASSES = "auto"


def catalogue_for(settings: Settings) -> Catalogue:
    """The models of `entries_for`, and nothing that a scan would find. Raises ValueError as it does."""
    return Catalogue(entries_for(settings), settings.default_model)


def entries_for(settings: Settings) -> dict[str, Model]:
    """Our models by name, those of `models.toml` in MODELS_DIR, and the sources of MODEL_SOURCES.

    An entry in MODELS_DIR goes in the place of ours of the same name. Raises ValueError naming what is wrong.
    """
    models = _read_file(CATALOGUE_FILE)
    own = settings.models_dir / OWN_CATALOGUE
    if own.is_file():
        models |= _read_file(own)
    for override in settings.model_sources:
        name, _, source = override.partition("=")
        if name not in models or not source.startswith(SOURCES):
            raise ValueError(
                f"MODEL_SOURCES: '{override}' is not like sd15=hub:owner/name or sd15=local:file.safetensors"
            )
        models[name] = replace(models[name], source=source)
    return models


def load_catalogue(default: str, file: Path = CATALOGUE_FILE) -> Catalogue:
    """Read one file of models; raises ValueError naming the entry and the key that is wrong."""
    return Catalogue(_read_file(file), default)


def _read_file(file: Path) -> dict[str, Model]:
    models = {}
    try:
        entries = tomllib.loads(read_text_file(file))
    except NotUtf8 as wrong:
        raise ValueError(f"models.toml: it {wrong}") from None
    except (OSError, ValueError) as wrong:
        raise ValueError(f"models.toml: it cannot be read: {wrong}") from None
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            raise ValueError(f"models.toml: '{name}' stands outside of any [model]")
        family = value_of(name, entry, "family", str)
        if family not in FAMILY_FACTS:
            raise ValueError(f"models.toml: [{name}] family must be one of {', '.join(FAMILY_FACTS)}")
        facts = FAMILY_FACTS[family]
        model = Model(
            name=name,
            label=value_of(name, entry, "label", str),
            aliases=names_of(name, entry, "aliases"),
            source=value_of(name, entry, "source", str),
            family=family,
            configs=names_of(name, entry, "configs"),
            native_size=value_of(name, {"native_size": facts.native_size} | entry, "native_size", int),
            max_size=value_of(name, {"max_size": 0} | entry, "max_size", int),
            files=names_of(name, entry, "files") if "files" in entry else (),
            prediction=word_of(name, entry, "prediction", PREDICTIONS),
            weights=word_of(name, entry, "weights", (PLAIN, AVERAGED)) or PLAIN,
            distilled=word_of(name, entry, "distilled", (*DISTILLATIONS, NOT_DISTILLED)),
            steps=int(number_of(name, entry, "steps", 1, MOST_STEPS, whole=True) or 0),
            scale=number_of(name, entry, "scale", -MOST_SCALE, MOST_SCALE),
            sampler=canonical_name(word_of(name, entry, "sampler", wire_names())) or "",
            schedule=canonical_schedule(word_of(name, entry, "schedule", schedule_names())),
            accelerator=value_of(name, {"accelerator": ""} | entry, "accelerator", str),
            one_picture_size=value_of(name, {"one_picture_size": 0} | entry, "one_picture_size", int),
            hires=word_of(name, entry, "hires", (_TWO_PASSES,)) == _TWO_PASSES,
            hires_strength=number_of(name, entry, "hires_strength", 0.01, 1),
            own_latents=flag_of(name, entry, "own_latents"),
        )
        if not SAMPLERS[model.defaults.sampler].can(model.defaults.schedule):
            choices = ", ".join(SAMPLERS[model.defaults.sampler].schedules)
            raise ValueError(
                f"models.toml: [{name}] schedule must be one that the sampler {model.defaults.sampler} can: {choices}"
            )
        if not model.configs:
            raise ValueError(f"models.toml: [{name}] configs must name at least one file")
        layouts = [config for config, layout in LAYOUTS.items() if layout.family == family]
        if layouts and model.configs[0] not in layouts:
            raise ValueError(f"models.toml: [{name}] configs must begin with one of {', '.join(layouts)}")
        if not model.source.startswith(SOURCES):
            raise ValueError(f"models.toml: [{name}] source must start with {', '.join(SOURCES)}")
        if not all(name.endswith(SINGLE_FILES) for name in model.files):
            raise ValueError(f"models.toml: [{name}] files must end with {' or '.join(SINGLE_FILES)}")
        if model.max_size < 0:
            raise ValueError(f"models.toml: [{name}] max_size must be 64 or more")
        if model.native_size % facts.size_step or not 64 <= model.native_size <= model.largest_square:
            raise ValueError(
                f"models.toml: [{name}] native_size must be a multiple of {facts.size_step} from 64 to max_size"
            )
        if model.one_picture_size and model.one_picture_size < model.native_size:
            raise ValueError(f"models.toml: [{name}] one_picture_size must be native_size or more")
        models[name] = model
    return models
