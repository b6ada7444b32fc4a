"""The LoRAs that an image tells of, as those that are here."""

from collections.abc import Mapping
from typing import Any

from api.dialects.receipts.told import number, shown, text_of
from shared.catalogue.accelerators import WITHOUT
from shared.catalogue.kinds import LORA
from shared.catalogue.models import Catalogue, OtherFile
from shared.request.adapters import MOST_LORAS, objection_to
from shared.request.defaults import ACCELERATOR

_WEIGHTS = ("weight", "text_weight")
_LEAST_DIGITS = 10


def with_our_loras(values: dict[str, Any], catalogue: Catalogue) -> list[str]:
    """Have `loras` in `values` by their names here, without those that cannot be used with its `ckpt`.

    Gives a sentence for each of these, and for one whose file is another one by its hash.
    """
    told = values.pop("loras", None)
    model = catalogue.find(text_of(values.get("ckpt"))) or catalogue.default
    found, remarks = dict[str, Mapping[str, Any]](), list[str]()
    for each in told if isinstance(told, list) else ():
        if not isinstance(each, dict) or len(found) == MOST_LORAS:
            continue
        name, digits = text_of(each.get("name")), text_of(each.get("hash")).lower()
        file = _find(catalogue, name, digits)
        if file is None:
            remarks.append(f"loras: no LoRA here is called {shown(name)}; it is left out.")
        elif problem := objection_to(file, model):
            remarks.append(f"loras: {problem}")
        else:
            if digits and file.sha256 and not file.sha256.startswith(digits):
                remarks.append(f"loras: {shown(file.name)} is another file here than the one of the image.")
            weights = {weight: number(each[weight]) for weight in _WEIGHTS if each.get(weight) is not None}
            found.setdefault(file.name, {"name": file.name, **weights})
    if found:
        values["loras"] = list(found.values())
    accelerator = catalogue.find_other(LORA, text_of(values.get(ACCELERATOR)))
    if accelerator and accelerator.name in found:
        values[ACCELERATOR] = accelerator.name
    elif model.accelerator or ACCELERATOR in values:
        values[ACCELERATOR] = WITHOUT  # no one that the image was not drawn with
    return remarks[:MOST_LORAS]


def _find(catalogue: Catalogue, name: str, digits: str) -> OtherFile | None:
    """By its name, else the file of that hash, whatever its name is here."""
    file = catalogue.find_other(LORA, name)
    if file is None and len(digits) >= _LEAST_DIGITS:
        hashed = (each for each in catalogue.others if each.kind == LORA and each.sha256.startswith(digits))
        file = next(hashed, None)
    return file
