"""The model catalogue: reads and checks `models.toml`."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from shared.catalogue.families import FAMILY_FACTS, FamilyFacts
from shared.settings import Settings
from shared.text_files import NotUtf8, read_text_file

T = TypeVar("T")
CATALOGUE_FILE = Path(__file__).with_name("models.toml")
OWN_CATALOGUE = "models.toml"
"""The name of a file under MODELS_DIR with the operator's own entries."""
REPOSITORY_ROOT = Path(__file__).resolve().parents[2]
DEFAULT_ALIAS = "default"
SINGLE_FILES = (".safetensors", ".ckpt")
"""How the names of checkpoints in the original layout end, everything in one file."""
_BUNDLED, _LOCAL, _HUB = "bundled:", "local:", "hub:"
_SOURCES = (_BUNDLED, _LOCAL, _HUB)


@dataclass(frozen=True)
class Model:
    """One checkpoint that can be asked for.

    `source` is `bundled:<folder of this repository>`, `local:<file or folder, from MODELS_DIR>` or
    `hub:<owner>/<name>`. `files` are names under which the checkpoint is published as a single file; the first of
    `configs` says in which layout such a file is. Sizes are in pixels a side.
    """

    name: str
    label: str
    aliases: tuple[str, ...]
    source: str
    family: str
    configs: tuple[str, ...]
    native_size: int
    max_size: int
    files: tuple[str, ...] = ()

    @property
    def facts(self) -> FamilyFacts:
        """What it has in common with the other models of its family."""
        return FAMILY_FACTS[self.family]

    def accepts_config(self, config: str) -> bool:
        """Whether an inference yaml, named with or without its folder, belongs to this model's family."""
        return PurePosixPath(config).name in self.configs

    def place(self, models_dir: Path) -> Path | None:
        """Where this model's weights are: a folder in the diffusers layout, or a single file; None when nowhere."""
        return next((path for path in self._candidates(models_dir) if _is_model(path)), None)

    def _candidates(self, models_dir: Path) -> Iterator[Path]:
        if self.source.startswith(_LOCAL):
            source = Path(self.source.removeprefix(_LOCAL))
            # of another user's home nobody may know where it is
            yield models_dir / (source.expanduser() if source.parts[:1] == ("~",) else source)
        yield models_dir / self.name
        yield from (models_dir / f"{self.name}{ending}" for ending in SINGLE_FILES)
        yield from (models_dir / file for file in self.files)
        if self.source.startswith(_BUNDLED):
            yield REPOSITORY_ROOT / self.source.removeprefix(_BUNDLED)

    @property
    def local_source(self) -> str | None:
        """The file or folder that the source names, as written."""
        return self.source.removeprefix(_LOCAL) if self.source.startswith(_LOCAL) else None

    @property
    def hub_id(self) -> str | None:
        return self.source.removeprefix(_HUB) if self.source.startswith(_HUB) else None


def _is_model(path: Path) -> bool:
    return (path / "model_index.json").is_file() or (path.suffix in SINGLE_FILES and path.is_file())


class Catalogue:
    """All models, found by name or alias; `default` stands for the operator's choice.

    Raises ValueError when the file is contradictory or `default` names no model.
    """

    def __init__(self, models: Mapping[str, Model], default: str) -> None:
        self._models = dict(models)
        self._names: dict[str, str] = {}
        for model in self._models.values():
            for name in (model.name, *model.aliases, *model.files):
                if name == DEFAULT_ALIAS or self._names.setdefault(name, model.name) != model.name:
                    raise ValueError(f"models.toml: the name '{name}' is used twice or reserved")
        if default not in self._names:
            raise ValueError(f"DEFAULT_MODEL: no model is called '{default}'; choose one of {', '.join(self._models)}")
        self.default = self._models[self._names[default]]

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def find(self, name: str) -> Model | None:
        """The model of that name or alias, or None."""
        if name == DEFAULT_ALIAS:
            return self.default
        canonical = self._names.get(name)
        return self._models[canonical] if canonical else None

    def choices(self) -> list[str]:
        """Every name a request may use."""
        return [DEFAULT_ALIAS, *self._names]


def catalogue_for(settings: Settings) -> Catalogue:
    """Our models, those of `models.toml` in MODELS_DIR, and the sources of MODEL_SOURCES.

    An entry in MODELS_DIR goes in the place of ours of the same name. Raises ValueError naming what is wrong.
    """
    models = _read_file(CATALOGUE_FILE)
    own = settings.models_dir / OWN_CATALOGUE
    if own.is_file():
        models |= _read_file(own)
    for override in settings.model_sources:
        name, _, source = override.partition("=")
        if name not in models or not source.startswith(_SOURCES):
            raise ValueError(
                f"MODEL_SOURCES: '{override}' is not like sd15=hub:owner/name or sd15=local:file.safetensors"
            )
        models[name] = replace(models[name], source=source)
    return Catalogue(models, settings.default_model)


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
        family = _read(name, entry, "family", str)
        if family not in FAMILY_FACTS:
            raise ValueError(f"models.toml: [{name}] family must be one of {', '.join(FAMILY_FACTS)}")
        facts = FAMILY_FACTS[family]
        model = Model(
            name=name,
            label=_read(name, entry, "label", str),
            aliases=_read_names(name, entry, "aliases"),
            source=_read(name, entry, "source", str),
            family=family,
            configs=_read_names(name, entry, "configs"),
            native_size=_read(name, {"native_size": facts.native_size} | entry, "native_size", int),
            max_size=_read(name, entry, "max_size", int),
            files=_read_names(name, entry, "files") if "files" in entry else (),
        )
        if not model.configs:
            raise ValueError(f"models.toml: [{name}] configs must name at least one file")
        if not model.source.startswith(_SOURCES):
            raise ValueError(f"models.toml: [{name}] source must start with {', '.join(_SOURCES)}")
        if not all(name.endswith(SINGLE_FILES) for name in model.files):
            raise ValueError(f"models.toml: [{name}] files must end with {' or '.join(SINGLE_FILES)}")
        if model.native_size % facts.size_step or not 64 <= model.native_size <= model.max_size:
            raise ValueError(
                f"models.toml: [{name}] native_size must be a multiple of {facts.size_step} from 64 to max_size"
            )
        models[name] = model
    return models


def _read(name: str, entry: Mapping[str, Any], key: str, kind: type[T]) -> T:
    if key not in entry:
        raise ValueError(f"models.toml: [{name}] lacks '{key}'")
    value = entry[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"models.toml: [{name}] {key} must be of type {kind.__name__}, not {value!r}")
    return value


def _read_names(name: str, entry: Mapping[str, Any], key: str) -> tuple[str, ...]:
    names = _read(name, entry, key, list)
    if not all(isinstance(each, str) for each in names):
        raise ValueError(f"models.toml: [{name}] {key} must be a list of names")
    return tuple(names)
