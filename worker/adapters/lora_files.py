"""The LoRAs of a worker in memory, by their files; least recently used first out."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from shared.catalogue.kinds import LORA
from shared.catalogue.models import Catalogue, OtherFile
from shared.catalogue.tensors import NotUsable
from shared.errors import ModelUnavailable
from shared.request.adapters import Lora
from worker.adapters.lora_file import LoraFile, read_lora
from worker.adapters.used_lora import UsedLora
from worker.models.weights_file import state_of

log = logging.getLogger(__name__)

_Key = tuple[Path, tuple[int, ...]]


class LoraFiles:
    """Reads the LoRAs that requests name. Safe to use from many threads.

    Those read last stay in memory, `budget` bytes of them; those of requests under way stay beside these.
    """

    def __init__(self, catalogue: Catalogue, budget: int) -> None:
        self._catalogue = catalogue
        self._budget = budget
        self._lock = threading.Lock()
        self._kept: OrderedDict[_Key, LoraFile] = OrderedDict()
        self.nbytes = 0
        """Bytes of those that are kept."""

    def read(self, loras: Sequence[Lora]) -> tuple[UsedLora, ...]:
        """The LoRAs with what their files hold now. Raises ModelUnavailable."""
        return tuple(UsedLora(lora, self._read(lora.name)) for lora in loras)

    def _read(self, name: str) -> LoraFile:
        known = self._catalogue.find_other(LORA, name)
        if known is None or known.path is None:
            raise ModelUnavailable(f"No LoRA is called '{name}' here; GET /loras lists those that there are.")
        with self._lock:  # one at a time: several requests with one LoRA read it once
            try:
                key = known.path, state_of(known.path.stat())
                if key not in self._kept:
                    self._keep(key, self._read_anew(known, known.path))
                self._kept.move_to_end(key)
                return self._kept[key]
            except OSError as broken:
                raise ModelUnavailable(f"The LoRA '{name}' cannot be read: {broken.strerror or broken}.") from broken

    def _read_anew(self, known: OtherFile, path: Path) -> LoraFile:
        try:
            return read_lora(path)
        except NotUsable as wrong:
            raise ModelUnavailable(f"The LoRA '{known.name}' cannot be used: {known.shown} {wrong}.") from wrong

    def _keep(self, key: _Key, file: LoraFile) -> None:
        for other in [other for other in self._kept if other[0] == key[0]]:
            del self._kept[other]  # what the file was before
        self._kept[key] = file
        while len(self._kept) > 1 and sum(each.nbytes for each in self._kept.values()) > self._budget:
            self._kept.popitem(last=False)
        self.nbytes = sum(each.nbytes for each in self._kept.values())
        log.info("read a LoRA (%d MiB); %d are in memory", file.nbytes >> 20, len(self._kept))
