"""Train the demo model from nothing: `python -m demo_model.train`.

Every stage keeps a checkpoint in the state folder; running the command again goes on where it stopped, and a
larger budget for a stage extends it.
"""

from __future__ import annotations

import logging
import signal
from pathlib import Path

import click
import torch

from demo_model.autoencoder import new_autoencoder, silence_posterior, train_decoder, train_encoder
from demo_model.denoiser import new_unet, train_unet
from demo_model.progress import Budget, Stage
from demo_model.release import WEIGHTS, release
from demo_model.text import SEED as TEXT_SEED
from demo_model.text import new_text_encoder, train_text
from demo_model.vocabulary import load_tokenizer, write_tokenizer

STAGES = ("text", "unet", "decoder", "encoder", "release")


def saved(state: Path, stage: str, part: str) -> dict[str, torch.Tensor]:
    """A part of a stage's checkpoint."""
    found: dict[str, torch.Tensor] = torch.load(state / f"{stage}.pt", map_location="cpu", weights_only=True)[part]
    return found


@click.command()
@click.option("--state", type=click.Path(path_type=Path), default=Path("build/demo_model"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=WEIGHTS, help="Where the finished folder goes.")
@click.option("--stage", "stages", type=click.Choice(STAGES), multiple=True, default=STAGES, show_default=True)
@click.option("--text-minutes", default=8.0, show_default=True)
@click.option("--unet-minutes", default=240.0, show_default=True)
@click.option("--decoder-minutes", default=40.0, show_default=True)
@click.option("--encoder-minutes", default=10.0, show_default=True)
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu", show_default=True)
@click.option("--threads", default=2, show_default=True, help="CPU threads.")
def main(
    state: Path, out: Path, stages: tuple[str, ...], text_minutes: float, unet_minutes: float,
    decoder_minutes: float, encoder_minutes: float, device: str, threads: int,
) -> None:  # fmt: skip
    """Train text encoder, UNet, decoder and encoder in turn, then write the model folder."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: Stage.stopping.set())
    where = torch.device(device)
    files = state / "tokenizer"
    if not (files / "vocab.json").exists():
        write_tokenizer(files)
    tokenizer = load_tokenizer(files)
    torch.manual_seed(TEXT_SEED)
    text, unet, vae = new_text_encoder(tokenizer), new_unet(), new_autoencoder()
    # 1. Words to layouts.
    if "text" in stages:
        train_text(text, tokenizer, state, Budget(minutes=text_minutes), where)
    # 2. The image's code from noise and text; it starts from what stage 1 taught the text encoder.
    if "unet" in stages:
        text.load_state_dict(saved(state, "text", "text"))
        # Emphasis divides by the mean of all hidden states: keep that mean well away from zero.
        dict(text.named_parameters())["final_layer_norm.bias"].data += 0.5
        train_unet(unet, text, tokenizer, state, Budget(minutes=unet_minutes), where)
    # 3. and 4. Code to image, image to code.
    if "decoder" in stages:
        train_decoder(vae, state, Budget(minutes=decoder_minutes), where)
    if "encoder" in stages:
        train_encoder(vae, state, Budget(minutes=encoder_minutes), where)
    # 5. The folder, from the running averages.
    if "release" in stages and not Stage.stopping.is_set():
        write_release(state, out)


def write_release(state: Path, out: Path) -> None:
    """Collect what each stage's checkpoint holds into one model folder; a stage not yet run stays untrained."""
    tokenizer = load_tokenizer(state / "tokenizer")
    text, unet, vae = new_text_encoder(tokenizer), new_unet(), new_autoencoder()
    if (state / "unet.pt").exists():
        averages = torch.load(state / "unet.pt", map_location="cpu", weights_only=True)["average"]["kept"]
        unet.load_state_dict(averages[0])
        text.load_state_dict(averages[1])
    for stage in ("decoder", "encoder"):
        if (state / f"{stage}.pt").exists():
            vae.load_state_dict(saved(state, stage, "half"), strict=False)
    # a checkpoint is written within the training, before the encoder's last touch
    silence_posterior(vae)
    release(out, state / "tokenizer", text, unet, vae)


if __name__ == "__main__":
    main()
