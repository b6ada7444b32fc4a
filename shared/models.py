"""The model catalogue: reads and checks `models.toml`."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

T = TypeVar("T")
CATALOGUE_FILE = Path(__file__).with_name("models.toml")
REPOSITORY_ROOT = Path(__file__).resolve().parent.parent
DEFAULT_ALIAS = "default"
FAMILIES = ("sd1", "sd2")
LATENT_CHANNELS = 4
DOWNSAMPLING_FACTOR = 8


@dataclass(frozen=True)
class Model:
    """One checkpoint that can be asked for.

    `source` is `bundled:<folder of this repository>` or `hub:<owner>/<name>`. Sizes are in pixels a side.
    """

    name: str
    label: str
    aliases: tuple[str, ...]
    source: str
    family: str
    configs: tuple[str, ...]
    native_size: int
    max_size: int

    def accepts_config(self, config: str) -> bool:
        """Whether an inference yaml, named with or without its folder, belongs to this model's family."""
        return PurePosixPath(config).name in self.configs

    def folder(self, models_dir: Path) -> Path | None:
        """The local folder with this model's weights, in the diffusers layout; None when there is none."""
        candidates = [models_dir / self.name]
        if self.source.startswith("bundled:"):
            candidates.append(REPOSITORY_ROOT / self.source.removeprefix("bundled:"))
        return next((path for path in candidates if (path / "model_index.json").is_file()), None)

    @property
    def hub_id(self) -> str | None:
        return self.source.removeprefix("hub:") if self.source.startswith("hub:") else None


class Catalogue:
    """All models, found by name or alias; `default` stands for the operator's choice.

    Raises ValueError when the file is contradictory or `default` names no model.
    """

    def __init__(self, models: Mapping[str, Model], default: str) -> None:
        self._models = dict(models)
        self._names: dict[str, str] = {}
        for model in self._models.values():
            for name in (model.name, *model.aliases):
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


def load_catalogue(default: str, file: Path = CATALOGUE_FILE) -> Catalogue:
    """Read the catalogue; raises ValueError naming the entry and the key that is wrong."""
    models = {}
    for name, entry in tomllib.loads(file.read_text(encoding="utf-8")).items():
        if not isinstance(entry, dict):
            raise ValueError(f"models.toml: '{name}' stands outside of any [model]")
        model = Model(
            name=name,
            label=_read(name, entry, "label", str),
            aliases=_read_names(name, entry, "aliases"),
            source=_read(name, entry, "source", str),
            family=_read(name, entry, "family", str),
            configs=_read_names(name, entry, "configs"),
            native_size=_read(name, entry, "native_size", int),
            max_size=_read(name, entry, "max_size", int),
        )
        if not model.configs:
            raise ValueError(f"models.toml: [{name}] configs must name at least one file")
        if model.family not in FAMILIES:
            raise ValueError(f"models.toml: [{name}] family must be one of {', '.join(FAMILIES)}")
        if not model.source.startswith(("bundled:", "hub:")):
            raise ValueError(f"models.toml: [{name}] source must start with bundled: or hub:")
        if model.native_size % DOWNSAMPLING_FACTOR or not 64 <= model.native_size <= model.max_size:
            raise ValueError(f"models.toml: [{name}] native_size must be a multiple of 8 from 64 to max_size")
        models[name] = model
    return Catalogue(models, default)


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
