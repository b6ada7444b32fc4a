"""The models of one machine: the entries of `models.toml`, and what its folders of models hold."""

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from shared.catalogue.entries import entries_for
from shared.catalogue.facts_cache import FactsCache
from shared.catalogue.found_models import contents_of
from shared.catalogue.models import REPOSITORY_ROOT, Catalogue, Contents
from shared.catalogue.scan import Root, look_at, printable, scan
from shared.settings import Settings

log = logging.getLogger(__name__)

MODELS_DIR = "MODELS_DIR"
BUNDLED = tuple(
    Root(REPOSITORY_ROOT / "demo_model" / name, f"demo_model/{name}") for name in ("controlnets", "adapters")
)
"""The ControlNet, the LoRAs and the embedding of the demo model."""


def roots_of(settings: Settings) -> list[Root]:
    """MODELS_DIR and EXTRA_MODELS_DIRS, the latter under their own names, as far as these differ; then what is bundled
    with the demo model."""
    roots = [Root(settings.models_dir, MODELS_DIR)]
    for number, folder in enumerate(map(Path, settings.extra_models_dirs), 1):
        name = printable(folder.name) or MODELS_DIR
        taken = {root.shown for root in roots}
        roots.append(Root(folder, name if name not in taken else f"{name} ({number})"))
    return [*roots, *BUNDLED]


class Library:
    """Keeps the catalogue of a worker to what is there. Raises ValueError as `entries_for` does.

    `cache`, in `cache_folder`, is where facts and hashes of files are kept. Safe to use from many threads.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._roots: Sequence[Root] = roots_of(settings)
        self.cache_folder = settings.compile_cache_dir / "models"
        self.cache = FactsCache(self.cache_folder)
        self._lock = threading.Lock()
        begun = time.monotonic()
        contents = self._contents()
        found = sum(model.path is not None for model in contents.models.values())
        log.info(
            "found %d models and %d other files of weights in %.1f s",
            found, len(contents.others), time.monotonic() - begun,
        )  # fmt: skip
        self.catalogue = Catalogue(contents.models, settings.default_model, contents.others)

    def learn_hashes(self) -> None:
        """Take over the hashes that other processes of this machine have counted since."""
        self.cache.learn()

    def look(self) -> bool:
        """Scan the folders and read `models.toml` again; whether anything is other than before.

        A `models.toml` that is wrong now is logged, and changes nothing. One look at a time: what an older one saw must
        not take the place of what a newer one did.
        """
        with self._lock:
            try:
                contents = self._contents()
            except ValueError as wrong:
                log.warning("the models stay as they were: %s", wrong)
                return False
            return self._replace(contents)

    def _replace(self, contents: Contents) -> bool:
        before = self.catalogue.contents()
        if contents == before:
            return False
        for word, names in (
            ("new", contents.models.keys() - before.models.keys()),
            ("gone", before.models.keys() - contents.models.keys()),
        ):
            if names:
                log.info("models that are %s: %s", word, ", ".join(sorted(names)))
        self.catalogue.replace(contents)
        return True

    def _contents(self) -> Contents:
        entries = entries_for(self._settings)
        found = scan(self._roots, self.cache)
        known = {each.path.absolute() for each in found}
        for entry in entries.values():
            # a `local:` source may be anywhere
            place = entry.place(self._settings.models_dir) if entry.local_source else None
            if place and place.is_file() and place.absolute() not in known and (each := look_at(place, self.cache)):
                found.append(each)
        self.cache.write()
        return contents_of(entries, found, self._settings.models_dir)
