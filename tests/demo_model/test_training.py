"""Training can stop and go on; the latent code and the shipped folder are what they claim."""

import copy
import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel

from demo_model.denoiser import Average, batch, new_scheduler, noised, train_unet
from demo_model.latents import Code, features
from demo_model.progress import Budget, Stage, cosine_tail, generator
from demo_model.release import WEIGHTS
from demo_model.text import new_text_encoder
from demo_model.vocabulary import load_tokenizer


def _toy_unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=128,
        attention_head_dim=2,
        norm_num_groups=4,
    )


@pytest.fixture
def plain_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The features themselves as the code, which spares the test the world's statistics."""
    code = Code(torch.zeros(4), torch.eye(4))
    monkeypatch.setattr("demo_model.denoiser.world_code", lambda: code)


@pytest.mark.usefixtures("plain_code")
@pytest.mark.full
def test_resumed_training_equals_unbroken_training(tmp_path: Path) -> None:
    """Four steps in one go and two plus two after a restart end at exactly the same weights and averages."""
    tokenizer = load_tokenizer(WEIGHTS / "tokenizer")
    torch.manual_seed(0)
    text = new_text_encoder(tokenizer)
    sizes = ((1.0, 64, 64, 2),)

    def run(folder: str, limit: int | None) -> Average:
        unet, words = _toy_unet(), copy.deepcopy(text)
        return train_unet(
            unet, words, tokenizer, tmp_path / folder, Budget(steps=4), torch.device("cpu"), small_steps=2, limit=limit,
            small_sizes=sizes, later_sizes=sizes,
        )  # fmt: skip

    whole = run("whole", None)
    run("parts", 2)
    parts = run("parts", None)
    for a, b in zip(whole.kept, parts.kept, strict=True):
        for one, other in zip(a.parameters(), b.parameters(), strict=True):
            assert torch.equal(one, other)


def test_a_stage_ends_with_its_budget_and_can_be_extended(tmp_path: Path) -> None:
    """A stage runs its steps once; run again it does nothing, unless the budget has grown."""
    layer = torch.nn.Linear(1, 1)
    assert list(Stage("toy", tmp_path, {"layer": layer}, Budget(steps=3)).steps()) == [0, 1, 2]
    assert list(Stage("toy", tmp_path, {"layer": layer}, Budget(steps=3)).steps()) == []
    assert list(Stage("toy", tmp_path, {"layer": layer}, Budget(steps=5)).steps()) == [3, 4]


def test_learning_rate_warms_up_stays_and_falls() -> None:
    """The factor rises over the warm-up, is one to the end of the flat part, and ends near zero."""
    assert cosine_tail(0.0, 0, 10, 0.5) == pytest.approx(0.1)
    assert cosine_tail(0.5, 100, 10, 0.5) == 1.0
    assert cosine_tail(1.0, 100, 10, 0.5) == pytest.approx(0.02)


@pytest.mark.usefixtures("plain_code")
def test_batches_depend_on_their_seed_only() -> None:
    """The same seed gives the same captions and latents, another seed others."""
    sizes = ((1.0, 64, 96, 3),)
    texts, latents, emphases = batch(5, sizes)
    again, same, also = batch(5, sizes)
    assert (texts, emphases) == (again, also)
    assert torch.equal(latents, same)
    assert latents.shape == (3, 4, 12, 8)
    assert batch(6, sizes)[0] != texts


def test_velocity_leads_back_to_the_latents() -> None:
    """Where the noise was not hidden, x0 = sqrt(a) x_t - sqrt(1 - a) v."""
    alphas, latents = new_scheduler().alphas_cumprod, torch.randn(64, 4, 2, 2)
    timesteps, noisy, velocity = noised(latents, alphas, generator(1, 2))
    seen = timesteps < 800
    a = alphas[timesteps][seen].view(-1, 1, 1, 1)
    assert torch.allclose(a.sqrt() * noisy[seen] - (1 - a).sqrt() * velocity[seen], latents[seen], atol=1e-4)


def test_the_code_of_half_an_image_is_the_average_of_its_code() -> None:
    """Mean colours of an image averaged down by two are the averages of its mean colours."""
    image = torch.rand(1, 3, 32, 32)
    smaller = torch.nn.functional.avg_pool2d(image, 2)
    averaged = torch.nn.functional.avg_pool2d(features(image)[:, :3], 2)
    assert torch.allclose(features(smaller)[:, :3], averaged, atol=1e-6)


def test_the_shipped_folder_is_stable_diffusion_in_small() -> None:
    """The folder holds SD 1.x's parts with SD 1.x's conventions, under 40 MB."""
    index = json.loads((WEIGHTS / "model_index.json").read_text(encoding="utf-8"))
    assert index["_class_name"] == "StableDiffusionPipeline"
    assert index["text_encoder"] == ["transformers", "CLIPTextModel"]
    scheduler = DDIMScheduler.from_pretrained(WEIGHTS, subfolder="scheduler").config
    assert (scheduler.beta_start, scheduler.beta_end, scheduler.beta_schedule) == (0.00085, 0.012, "scaled_linear")
    assert (scheduler.steps_offset, scheduler.clip_sample, scheduler.set_alpha_to_one) == (1, False, False)
    vae = AutoencoderKL.load_config(WEIGHTS, subfolder="vae")
    assert (vae["latent_channels"], len(vae["block_out_channels"]), vae["scaling_factor"]) == (4, 4, 0.18215)
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 40_000_000


def test_the_shipped_text_encoder_has_a_mean_to_restore() -> None:
    """Emphasis divides by the mean of the hidden states: it must not be near zero for any prompt."""
    tokenizer = load_tokenizer(WEIGHTS / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(WEIGHTS, subfolder="text_encoder").float()
    prompts = ["", "a red circle", "a house by the sea at night, highly detailed"]
    ids = torch.tensor(tokenizer(prompts, padding="max_length").input_ids)
    with torch.no_grad():
        means = encoder(input_ids=ids).last_hidden_state.mean(dim=(1, 2))
    assert (means.abs() > 0.1).all()
