"""Looks through the folders of models for files and folders of weights, whatever program laid them out."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.catalogue.facts_cache import FactsCache, Stamp
from shared.catalogue.folder import INDEX, is_folder_of_parts, recognise_folder
from shared.catalogue.kinds import CHECKPOINT, CONTROLNET, EMBEDDING, LORA, OTHER, TEXT_ENCODER, TINY_VAE, UPSCALER, VAE
from shared.catalogue.recognition import FileFacts, recognise, yaml_beside
from shared.catalogue.tensors import NotUsable
from shared.catalogue.weights_file import SINGLE_FILES, WEIGHTS_FILES, read_header

log = logging.getLogger(__name__)

MOST_DEPTH, MOST_ENTRIES = 8, 50_000
"""How many folders deep each root is looked through, and at how many files and folders in it."""
_STEMS_OF_DIFFUSERS = ("diffusion_pytorch_model", "pytorch_lora_weights")
# what diffusers saves under a name of its own is told of in any format, also where it cannot be read
_KINDS_OF_STEMS = {"pytorch_lora_weights": LORA, "learned_embeds": EMBEDDING}
_HUB_FOLDER, _SNAPSHOTS = "models--", "snapshots"
# what lies in a folder of that name, in A1111's and ComfyUI's trees, where a file itself cannot tell any more
_KINDS_OF_FOLDERS = {
    "lora": LORA, "loras": LORA, "lycoris": LORA, "vae": VAE, "vae-approx": TINY_VAE, "vae_approx": TINY_VAE,
    "embeddings": EMBEDDING, "controlnet": CONTROLNET, "esrgan": UPSCALER, "realesrgan": UPSCALER, "swinir": UPSCALER,
    "upscale_models": UPSCALER, "text_encoder": TEXT_ENCODER, "text_encoders": TEXT_ENCODER, "clip": TEXT_ENCODER,
    "clip_vision": OTHER, "hypernetworks": OTHER, "ipadapter": OTHER,
}  # fmt: skip


@dataclass(frozen=True)
class Root:
    """A folder of models, and how operators know it: "MODELS_DIR"."""

    folder: Path
    shown: str


@dataclass(frozen=True)
class FoundModel:
    """A file or folder (`is_folder`) of weights. `relative` is its place in its root, with `/`; `name` is that of the
    repository where it comes from a hub's cache."""

    path: Path
    root: Root
    relative: str
    name: str
    facts: FileFacts
    size_bytes: int
    sha256: str = ""
    hub_id: str = ""
    is_folder: bool = False

    @property
    def shown(self) -> str:
        """Where it lies, as operators know it; of a file outside of all roots its name."""
        return f"{self.root.shown}/{self.relative}" if self.root.shown else self.relative


def printable(text: str) -> str:
    """A file's name as text that any terminal, log and JSON can hold."""
    shown = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(letter if letter.isprintable() else "_" for letter in shown)


def scan(roots: Sequence[Root], cache: FactsCache) -> list[FoundModel]:
    """Everything in `roots` that is a model or part of one, those of the first root first, files before folders.

    A folder that is reached twice, by links, is looked through once.
    """
    walk = _Walk(cache)
    return [found for root in roots for found in walk.through(root)]


def look_at(file: Path, cache: FactsCache) -> FoundModel | None:
    """A single file that lies in no root; None where it is gone, or no file of weights."""
    try:
        with os.scandir(file.parent) as entries:
            names = {entry.name: entry for entry in entries}
    except OSError:
        return None
    entry = names.get(file.name)
    return _Walk(cache).file(Root(file.parent, ""), entry, set(names)) if entry else None


class _Walk:
    def __init__(self, cache: FactsCache) -> None:
        self._cache = cache
        self._seen: set[tuple[int, int]] = set()
        self._left = 0

    def through(self, root: Root) -> Iterator[FoundModel]:
        self._left = MOST_ENTRIES  # a root with very many leaves as many to the next
        yield from self._folder(root, root.folder, MOST_DEPTH)

    def _folder(self, root: Root, folder: Path, depth: int) -> Iterator[FoundModel]:
        entries = self._entries(folder)
        names = {entry.name for entry in entries}
        folders = []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is(entry, folder=True):
                folders.append(entry)
            elif entry.name.lower().endswith(WEIGHTS_FILES) and (found := self.file(root, entry, names)):
                yield found
        for entry in folders if depth else ():
            place = Path(entry.path)
            if entry.name.startswith(_HUB_FOLDER) and (place / _SNAPSHOTS).is_dir():
                yield from self._hub_folder(root, place)
            elif is_folder_of_parts(place):
                yield self._model_folder(root, place, entry.name)
            else:
                yield from self._folder(root, place, depth - 1)

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        """What lies in a folder, by name; nothing where it was looked through before, or cannot be."""
        try:
            stat = folder.stat()
            if (stat.st_dev, stat.st_ino) in self._seen:
                return []
            self._seen.add((stat.st_dev, stat.st_ino))
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as wrong:
            log.debug("the folder %s is not looked through: %s", folder, wrong)
            return []
        if len(found) > self._left:
            log.warning("%s and what is below it holds too many files; models are looked for in the first", folder)
        found = found[: self._left]
        self._left -= len(found)
        return found

    def file(self, root: Root, entry: os.DirEntry[str], names: set[str]) -> FoundModel | None:
        """What the file is; None for what is no file of weights."""
        path = Path(entry.path)
        try:
            if not entry.is_file():
                return None
            stat = entry.stat()
        except OSError:
            return None
        beside = path.with_suffix(".yaml") if f"{path.stem}.yaml" in names else None
        stamp = Stamp.of(stat, beside)
        facts = self._cache.find(path, stamp)
        if facts is None:
            facts = _recognised(path, path.parent.name)
            self._cache.keep(path, stamp, facts)
        told = not facts.refusal and facts.kind != OTHER
        # of a link to something else nothing is told, and the other endings belong to files of all kinds
        expected = path.suffix.lower() in SINGLE_FILES or path.stem in _KINDS_OF_STEMS
        if not told and (entry.is_symlink() or not expected):
            return None
        relative = path.relative_to(root.folder).as_posix()
        name, sha256 = printable(_name(path)), self._cache.hash_of(path, stamp)
        return FoundModel(path, root, printable(relative), name, facts, stat.st_size, sha256)

    def _hub_folder(self, root: Root, folder: Path) -> Iterator[FoundModel]:
        """A repository in the cache of huggingface_hub: of its snapshots the one that `refs/main` names, else the last.

        https://huggingface.co/docs/huggingface_hub/guides/manage-cache
        """
        snapshots = [Path(entry.path) for entry in self._entries(folder / _SNAPSHOTS) if _is(entry, folder=True)]
        if not snapshots:
            return
        try:
            revision = (folder / "refs" / "main").read_text().strip()
        except (OSError, ValueError):
            revision = ""
        chosen = next((each for each in snapshots if each.name == revision), max(snapshots, key=_changed))
        hub_id = folder.name.removeprefix(_HUB_FOLDER).replace("--", "/")
        if (chosen / INDEX).is_file():
            yield self._model_folder(root, chosen, hub_id.rpartition("/")[2], hub_id)
        else:
            yield from self._folder(root, chosen, 1)

    def _model_folder(self, root: Root, folder: Path, name: str, hub_id: str = "") -> FoundModel:
        facts = recognise_folder(folder)
        relative = folder.relative_to(root.folder).as_posix()
        size = sum(_size(file) for file in folder.glob("*/*.safetensors"))
        return FoundModel(folder, root, printable(relative), printable(name), facts, size, "", hub_id, True)


def _recognised(path: Path, folder: str) -> FileFacts:
    try:
        return recognise(read_header(path), yaml_beside(path))
    except NotUsable as wrong:
        kind = _KINDS_OF_STEMS.get(path.stem) or _KINDS_OF_FOLDERS.get(folder.lower(), CHECKPOINT)
        return FileFacts(kind=kind, sentence=str(wrong), refusal=str(wrong))


def _name(path: Path) -> str:
    """The stem, or that of the folder or the hub's repository of a file that is named as diffusers names them all."""
    if path.stem.partition(".")[0] not in _STEMS_OF_DIFFUSERS:
        return path.stem
    if path.parent.parent.name == _SNAPSHOTS:
        return path.parents[2].name.rpartition("--")[2]
    return path.parent.name


def _is(entry: os.DirEntry[str], folder: bool) -> bool:
    try:
        return entry.is_dir() if folder else entry.is_file()
    except OSError:
        return False


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
