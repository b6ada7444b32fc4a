"""Train the demo model's adapters: `python -m demo_model.train_adapters`.

Every LoRA keeps a checkpoint in the state folder; running the command again goes on where it stopped. The embedding is
found in one go.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import torch

from demo_model import bell, distillation, night, sketch
from demo_model.adapter_training import Frozen
from demo_model.lora import save
from demo_model.painter import Painter
from demo_model.progress import Budget, Stage

ADAPTERS = Path(__file__).parent / "adapters"
TITLES: Mapping[str, str] = {
    "demo-sketch": "Demo sketch", "demo-night": "Demo night", "demo-bell": "Demo bell", "demo-lcm": "Demo LCM",
}  # fmt: skip
STEPS: Mapping[str, int] = {"demo-sketch": 600, "demo-night": 800, "demo-lcm": 80}


def file_of(name: str, folder: Path = ADAPTERS) -> Path:
    """Where the adapter of that name lies."""
    return folder / ("embeddings" if name == "demo-bell" else "loras") / f"{name}.safetensors"


def tensors_of(name: str, frozen: Frozen, state: Path, budget: Budget) -> dict[str, torch.Tensor]:
    """Train the adapter of that name; what its file holds."""
    made: Mapping[str, Callable[[], dict[str, torch.Tensor]]] = {
        "demo-sketch": lambda: sketch.train_sketch(frozen, state, budget).kohya(sketch.KEPT),
        "demo-night": lambda: night.train_night(frozen, state, budget).kohya(),
        "demo-bell": lambda: {"emb_params": bell.find_bell(bell.Search(Painter()))},
        "demo-lcm": lambda: distillation.train_lcm(frozen, state, budget).kohya(distillation.KEPT),
    }
    return made[name]()


@click.command()
@click.option("--only", type=click.Choice(tuple(TITLES)), multiple=True, default=tuple(TITLES), show_default=True)
@click.option("--state", type=click.Path(path_type=Path), default=Path("build/demo_adapters"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=ADAPTERS, help="Where the finished files go.")
@click.option("--steps", type=int, default=None, help="Of each LoRA, with earlier runs; its own by default.")
@click.option("--threads", default=1, show_default=True, help="CPU threads.")
def main(only: tuple[str, ...], state: Path, out: Path, steps: int | None, threads: int) -> None:
    """Train each adapter in turn and write its file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: Stage.stopping.set())
    frozen = Frozen.load()
    for name in only:
        tensors = tensors_of(name, frozen, state, Budget(steps=steps or STEPS.get(name)))
        if Stage.stopping.is_set():
            return
        save(file_of(name, out), tensors, TITLES[name])


if __name__ == "__main__":
    main()
