"""Models and other files by name: what entries name, and what a scan of the folders found."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from shared.catalogue.distilled import DISTILLATIONS, Defaults, defaults_of
from shared.catalogue.families import FAMILY_FACTS, FamilyFacts
from shared.catalogue.weights_file import SINGLE_FILES

REPOSITORY_ROOT = Path(__file__).resolve().parents[2]
DEFAULT_ALIAS = "default"
PLAIN, AVERAGED = "plain", "ema"
MEASURED = "measured"
"""As the prediction type of a file that does not tell it: the worker finds out when it loads it."""
MOST_STEPS, MOST_SCALE = 999, 50
"""What a request and an entry may ask for at most."""
SHORT_HASH = 10
"""So many digits of the SHA-256 the A1111 web UI calls the hash of a model."""
_BUNDLED, _LOCAL, _HUB = "bundled:", "local:", "hub:"
FOUND = "found:"
"""How the source of a model begins that a scan found, and no entry names."""
SOURCES = (_BUNDLED, _LOCAL, _HUB)
"""How the source of an entry begins."""
# how many times larger than the size of its training an image may be that is drawn in two passes
_MOST_ENLARGED = 4


@dataclass(frozen=True)
class Model:
    """One checkpoint that can be asked for.

    `source` is `bundled:<folder of this repository>`, `local:<file or folder, from MODELS_DIR>` or
    `hub:<owner>/<name>`. `files` are names under which the checkpoint is published as a single file; the first of
    `configs` says in which layout such a file is. Sizes are in pixels a side. `max_size` is that of the largest square
    in one pass, 0 where no entry states it; `allowed_pixels` is what the operator allows an image of any model, or 0.

    An image of more pixels than a square of `one_picture_size` (0: a quarter more than `native_size`), or much longer,
    shows the same several times unless it is drawn in two passes, which `hires` says it is where a request says nothing
    (see `shared.request.hires`); `hires_strength` is that of the second pass, None for the usual one.

    `prediction` is "" where the layout or the file tells it. `weights` says which are used where a file has both the
    plain ones and their average over the training (`ema`). `distilled` is how it was made to draw in few steps, ""
    where it was not; `steps`, `scale`, `sampler` and `schedule` are what it is drawn with where a request does not say,
    as far as that is its own matter: see `defaults`. `accelerator` is the LoRA that all this is about, "" for none: see
    `shared.catalogue.accelerators`. With `own_latents` only its own VAE reads its latents. The others
    a scan fills in: `path` where it lies, `shown` how an operator knows that place, `told_guidance` whether it takes
    the guidance scale as an input, `inpainting` whether it takes a mask, `text_width` how wide the texts are that it
    reads (0: not known), `donors` the files that give what it lacks, `sha256` once it is known, and `why_not` what
    keeps it from being drawn with, "" where nothing does.
    """

    name: str
    label: str
    aliases: tuple[str, ...]
    source: str
    family: str
    configs: tuple[str, ...]
    native_size: int
    max_size: int = 0
    files: tuple[str, ...] = ()
    prediction: str = ""
    weights: str = PLAIN
    distilled: str = ""
    steps: int = 0
    scale: float | None = None
    sampler: str = ""
    schedule: str = ""
    accelerator: str = ""
    own_latents: bool = False
    told_guidance: bool = False
    inpainting: bool = False
    text_width: int = 0
    path: Path | None = None
    shown: str = ""
    size_bytes: int = 0
    sha256: str = ""
    dtype: str = ""
    donors: Mapping[str, Path] = field(default_factory=dict, hash=False)
    why_not: str = ""
    one_picture_size: int = 0
    hires: bool = False
    hires_strength: float | None = None
    allowed_pixels: int = 0

    @property
    def short_hash(self) -> str:
        """What the A1111 web UI calls the model's hash; "" until it is known."""
        return self.sha256[:SHORT_HASH]

    @property
    def title(self) -> str:
        """The file with its hash, as the A1111 web UI lists it."""
        file = self.shown.partition("/")[2] or self.name
        return f"{file} [{self.short_hash}]" if self.sha256 else file

    @property
    def called(self) -> str:
        """The model, and what it is drawn with, within a sentence."""
        beside = f" with the accelerator '{self.accelerator}'" if self.accelerator else ""
        return f"the model '{self.name}'{beside}"

    @property
    def facts(self) -> FamilyFacts:
        """What the models of its family have in common; of the first family, where its own is unknown here."""
        return FAMILY_FACTS.get(self.family) or next(iter(FAMILY_FACTS.values()))

    @property
    def defaults(self) -> Defaults:
        """What a request is drawn with that does not say."""
        return defaults_of(
            self.distilled if self.distilled in DISTILLATIONS else "",
            self.told_guidance, self.steps, self.scale, self.sampler, self.schedule,
        )  # fmt: skip

    @property
    def max_pixels(self) -> int:
        """The most pixels of an image in one pass, width times height."""
        set_by_somebody = [limit for limit in (self.max_size**2, self.allowed_pixels) if limit]
        return min(set_by_somebody, default=max(self.facts.max_size, self.native_size) ** 2)

    @property
    def largest_square(self) -> int:
        """Pixels a side of the largest square in one pass."""
        return self._side(self.max_pixels)

    @property
    def usual_size(self) -> int:
        """Pixels a side of what is drawn where a request does not say."""
        return min(self.native_size, self.largest_square)

    def _side(self, pixels: int) -> int:
        return math.isqrt(pixels) // self.facts.size_step * self.facts.size_step

    @property
    def largest_picture(self) -> int:
        """Pixels a side of the largest square that it draws in one pass without repeating itself."""
        return self.one_picture_size or self.native_size * 5 // 4

    @property
    def longest_picture(self) -> int:
        """The longest side, in pixels, of what it draws so."""
        return self.largest_picture * 3 // 2

    def is_one_picture(self, width: int, height: int) -> bool:
        """Whether it draws an image of so many pixels in one pass without repeating itself."""
        return width * height <= self.largest_picture**2 and max(width, height) <= self.longest_picture

    @property
    def max_hires_size(self) -> int:
        """The most pixels a side of what is drawn in two passes."""
        usual = max(self.largest_square, _MOST_ENLARGED * self.native_size)
        return min(usual, self._side(self.allowed_pixels)) if self.allowed_pixels else usual

    def accepts_config(self, config: str) -> bool:
        """Whether an inference yaml, named with or without its folder, belongs to this model's family."""
        return PurePosixPath(config).name in self.configs

    def place(self, models_dir: Path) -> Path | None:
        """Where this model's weights are: a folder in the diffusers layout, or a single file; None when nowhere."""
        if self.path is not None:
            return self.path if _is_model(self.path) else None
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


@dataclass(frozen=True)
class OtherFile:
    """A file of weights that is no model to ask for by `ckpt`: a LoRA, a VAE, an upscaler and so on.

    `name` and `aliases` are its own among the files of its kind, and `sentence` says what it is, after its name.
    `path` is where it lies, None on another machine, and `sha256` "" until it is known. `channels` are those of the
    latents that a VAE decodes, 0 for other files and without a decoder, `text_width` how wide the texts are that a
    LoRA or a ControlNet is made for, 0 where that is not known. `unusable` says why it cannot be read, after
    its name. Of a LoRA `base` is what it was trained on, as it says itself, `trigger_words` call for it in a prompt,
    and `tags` are the most frequent words of its training; `distilled` is how models draw in few steps with it, "" for
    none, and `steps` in how many, as far as that is told. `vectors` are those of an embedding.
    """

    name: str
    kind: str
    family: str
    shown: str
    size_bytes: int
    sentence: str
    path: Path | None = None
    channels: int = 0
    unusable: str = ""
    aliases: tuple[str, ...] = ()
    sha256: str = ""
    title: str = ""
    base: str = ""
    trigger_words: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    distilled: str = ""
    steps: int = 0
    vectors: int = 0
    text_width: int = 0

    def reads_texts_of(self, model: Model) -> bool:
        """Whether it is made for texts as wide as those of the model, as far as both are known."""
        return not self.text_width or not model.text_width or self.text_width == model.text_width

    @property
    def short_hash(self) -> str:
        """What the A1111 web UI calls the file's hash; "" until it is known."""
        return self.sha256[:SHORT_HASH]


@dataclass(frozen=True)
class Contents:
    """What a catalogue has: models by name, which model each name or alias means, and the other files."""

    models: Mapping[str, Model]
    names: Mapping[str, str]
    others: Sequence[OtherFile] = ()

    @classmethod
    def of(cls, models: Mapping[str, Model], others: Sequence[OtherFile] = (), strict: bool = True) -> "Contents":
        """Raises ValueError where a name means two models; unless `strict` it means the first then."""
        names: dict[str, str] = {} if strict else {name: name for name in models if name != DEFAULT_ALIAS}
        for model in models.values():
            for name in (model.name, *model.aliases, *model.files):
                if (name == DEFAULT_ALIAS or names.setdefault(name, model.name) != model.name) and strict:
                    raise ValueError(f"models.toml: the name '{name}' is used twice or reserved")
        for model in models.values():
            # none of these takes the name of another model
            for name in (model.shown, model.title, *((model.short_hash, model.sha256) if model.sha256 else ())):
                if name:
                    names.setdefault(name, model.name)
        return cls(models, names, others)

    @cached_property
    def others_by_name(self) -> Mapping[tuple[str, str], OtherFile]:
        """The other files by kind and name; what several are called means the first, and a name goes before a hash."""
        names = [(name, other) for other in self.others for name in (other.name, *other.aliases, other.shown)]
        hashes = [(name, other) for other in self.others if other.sha256 for name in (other.short_hash, other.sha256)]
        found: dict[tuple[str, str], OtherFile] = {}
        for name, other in (*names, *hashes):
            found.setdefault((other.kind, name), other)
        return found


class Catalogue:
    """All models, found by name, alias or hash; `default` stands for the operator's choice.

    Raises ValueError when the models are contradictory or `default` names none. Safe to use from many threads.
    """

    def __init__(self, models: Mapping[str, Model], default: str, others: Sequence[OtherFile] = ()) -> None:
        self._contents = Contents.of(models, others)
        self.default_name = default
        if default not in self._contents.names:
            raise ValueError(f"DEFAULT_MODEL: no model is called '{default}'; choose one of {some_of(list(models))}")

    def replace(self, contents: Contents) -> None:
        """Have these from now on."""
        self._contents = contents

    def contents(self) -> Contents:
        """What is there now."""
        return self._contents

    def __iter__(self) -> Iterator[Model]:
        return iter(self.contents().models.values())

    @property
    def others(self) -> Sequence[OtherFile]:
        """Files of other kinds that lie among the models."""
        return self.contents().others

    @property
    def default(self) -> Model:
        """The operator's choice; while it is away, the first model, so that what all have in common is known."""
        return self.find(DEFAULT_ALIAS) or next(iter(self))

    def find(self, name: str) -> Model | None:
        """The model of that name, alias or hash, or None."""
        contents = self.contents()
        canonical = contents.names.get(self.default_name if name == DEFAULT_ALIAS else name)
        return contents.models[canonical] if canonical else None

    def find_other(self, kind: str, name: str) -> OtherFile | None:
        """The other file of that kind, by name, alias or hash, or None."""
        return self.contents().others_by_name.get((kind, name))

    def choices(self) -> list[str]:
        """Every name a request may use."""
        return [DEFAULT_ALIAS, *self.contents().names]


def some_of(names: Sequence[str], most: int = 30) -> str:
    """The names with commas between, and of many the first ones."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
