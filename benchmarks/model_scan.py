"""How long it takes to find 500 models: `python -m benchmarks.model_scan`, at the first start and at the next ones.

Writes files into a temporary folder with the headers of real ones (every name of Stable Diffusion 1.x) and no weights:
checkpoints as .safetensors and .ckpt, and LoRAs, in sub-folders. What is measured is the listing that a worker makes
before it takes jobs. The files themselves are in the memory of the system each time.
"""

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

from benchmarks import report
from benchmarks.narrow_models import narrow_parts
from benchmarks.original_layout import original
from shared.catalogue.library import Library
from shared.jobs.inventory import Inventory
from shared.settings import Settings

_SHARES = {"checkpoints .safetensors": 0.6, "checkpoints .ckpt": 0.2, "LoRAs": 0.2}
_FOLDERS = 20
_ROUNDS = 5


def write_files(folder: Path, count: int) -> Mapping[str, int]:
    """Put so many files into sub-folders; gives how many of each kind."""
    weights = original(narrow_parts(second=False), second=False)
    # all names and dimensions, and no numbers
    names = {name: torch.empty((0, *weight.shape[1:]), dtype=torch.float16) for name, weight in weights.items()}
    lora = {
        f"lora_unet_{name.replace('.', '_')}.{part}": torch.empty((0, 4), dtype=torch.float16)
        for name in list(names)[:300]
        for part in ("lora_up.weight", "lora_down.weight")
    }
    written = {kind: round(count * share) for kind, share in _SHARES.items()}
    number = 0
    for kind, many in written.items():
        for _ in range(many):
            place = folder / f"folder {number % _FOLDERS}"
            place.mkdir(parents=True, exist_ok=True)
            if kind.endswith(".ckpt"):
                torch.save({"state_dict": names}, place / f"model {number}.ckpt")
            else:
                save_file(lora if kind == "LoRAs" else names, place / f"model {number}.safetensors")
            number += 1
    return written


@click.command(help=__doc__)
@click.option("--count", default=500, show_default=True, help="Files.")
def main(count: int) -> None:
    """Measure and write `results/model_scan.json`."""
    console = Console()
    with TemporaryDirectory() as made:
        written = write_files(Path(made) / "models", count)
        settings = Settings(models_dir=Path(made) / "models", compile_cache_dir=Path(made) / "cache")
        times: dict[str, list[float]] = {"first start": [], "next start": [], "look while it runs": []}

        def timed(name: str) -> Library:
            begun = time.perf_counter()
            library = Library(settings)
            times[name].append(time.perf_counter() - begun)
            return library

        library = timed("first start")
        for _ in range(_ROUNDS):
            library = timed("next start")
            begun = time.perf_counter()
            library.look()
            times["look while it runs"].append(time.perf_counter() - begun)
        found = [model for model in library.catalogue if model.path is not None]
        inventory = Inventory(tuple(library.catalogue), frozenset(model.name for model in found))
        seconds = {name: round(statistics.median(taken), 4) for name, taken in times.items()}
        results = {
            "files": count,
            "of_each_kind": dict(written),
            "listed": {"models": len(found), "others": len(library.catalogue.others)},
            "seconds": seconds,
            "bytes_told_to_redis_once": len(inventory.text),
        }
    table = Table("", "seconds")
    for name, median in seconds.items():
        table.add_row(name, f"{median:.3f}")
    console.print(table)
    path = report.write("model_scan", {"machine": report.machine("cpu", 1), **results})
    console.print(f"written: {path}")


if __name__ == "__main__":
    main()
