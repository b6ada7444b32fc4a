"""Models with the structure of latent diffusion's text to image and random but fixed weights, for tests."""

import json
from pathlib import Path

import torch

from tests.worker.tiny_parts import UNET, VAE, WIDTH
from tests.worker.tiny_tokenizer import WORDS

LDM_INDEX = {"_class_name": "LDMTextToImagePipeline"}
LDM_SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "_diffusers_version": "0.42.1",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "trained_betas": None,
    "clip_sample": False,
}
_AUTOENCODER = {**VAE, "latent_channels": 4}


def write_tiny_ldm(folder: Path, codebook: bool = False) -> None:
    """As published, but narrow and of two levels; with `codebook` its autoencoder is a VQModel."""
    from diffusers import AutoencoderKL, UNet2DConditionModel, VQModel
    from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertConfig, LDMBertModel

    torch.manual_seed(5)
    (folder / "tokenizer").mkdir(parents=True)
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1) if chr(code) == chr(code).lower()]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    vocabulary += WORDS
    (folder / "tokenizer" / "vocab.txt").write_text("\n".join(vocabulary))
    # as published: of the model that the vocabulary is of, not of this one
    told = {"tokenizer_class": "BertTokenizer", "model_max_length": 512, "do_lower_case": True}
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(told))
    bert = LDMBertModel(
        LDMBertConfig(
            vocab_size=len(vocabulary), encoder_layers=3, d_model=WIDTH, encoder_ffn_dim=2 * WIDTH,
            encoder_attention_heads=2, head_dim=8, init_std=0.3,
        )
    )  # fmt: skip
    bert.save_pretrained(folder / "bert")
    UNet2DConditionModel(**UNET).save_pretrained(folder / "unet")
    vae = VQModel(**_AUTOENCODER, num_vq_embeddings=64) if codebook else AutoencoderKL(**_AUTOENCODER, sample_size=64)
    if codebook:
        with torch.no_grad():
            vae.quantize.embedding.weight.normal_()
    vae.save_pretrained(folder / "vqvae")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(LDM_SCHEDULER))
    (folder / "model_index.json").write_text(json.dumps(LDM_INDEX))
