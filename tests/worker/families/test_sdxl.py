"""What Stable Diffusion XL is told: two texts, a pooled text and sizes. Its images: `test_stock_equality`."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from shared.catalogue.models import Catalogue
from shared.settings import Settings
from tests.images import SAME, decibels
from tests.worker.test_batching import alone, together
from worker.acceleration.split_batch import Sharing, SplitBatch
from worker.engine import DenoiseRequest, Engine
from worker.families import FAMILIES
from worker.families.sdxl import POOLED, SIZES
from worker.hardware.devices import Device
from worker.hardware.variants import Precision, choose_precision, profile_for
from worker.models.cache import CheckpointCache
from worker.models.checkpoint import Checkpoint
from worker.text.conditioning import TEXT, Conditioning, ConditioningInputs, stacked

CPU = Device("cpu")
PROFILE = profile_for("cpu", CPU)
FULL = choose_precision("full", PROFILE, CPU)
FAMILY = FAMILIES["sdxl"]
NAME = "tiny-sdxl"
# of the first encoder; the second has the rest
WIDTH = 16
Encode = Callable[..., Conditioning]


@pytest.fixture(scope="module")
def cache(settings: Settings, catalogue: Catalogue) -> CheckpointCache:
    return CheckpointCache(settings, catalogue, CPU, PROFILE)


@pytest.fixture
def checkpoint(cache: CheckpointCache) -> Checkpoint:
    return cache.get(NAME, FULL, ())


@pytest.fixture
def encode(checkpoint: Checkpoint) -> Encode:
    def encoded(prompt: str, negative: str = "", width: int = 64, height: int = 64) -> Conditioning:
        with torch.no_grad():
            return FAMILY.encode(checkpoint, ConditioningInputs(prompt, negative, width, height, 7.5))

    return encoded


@pytest.mark.parametrize("prompt", ["", "a cat", "A photo of the RED cat, café \n 12", "cat " * 75])
@pytest.mark.parametrize("negative", ["blue dog", ""])
@pytest.mark.parametrize("zeros", [True, False])
def test_a_plain_prompt_is_told_as_the_stock_pipeline_tells_it(
    prompt: str, negative: str, zeros: bool, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, encode: Encode
) -> None:
    """Given a prompt without weights in one chunk, when encoded, then texts and pooled texts are stock's in every bit.

    Also those of a negative prompt, and of none.
    """
    import diffusers

    parts = replace(checkpoint.parts, pipeline_config={"force_zeros_for_empty_prompt": zeros})
    monkeypatch.setattr(checkpoint, "parts", parts)
    stock: Any = diffusers.StableDiffusionXLPipeline(
        unet=parts.denoiser,
        vae=parts.vae,
        **parts.text_encoders,
        **parts.tokenizers,
        scheduler=diffusers.DDIMScheduler(),
        force_zeros_for_empty_prompt=zeros,
        add_watermarker=False,
    )
    with torch.no_grad():
        texts = stock.encode_prompt(prompt, device="cpu", negative_prompt=negative or None)
    ours = encode(prompt, negative)
    told = (ours.positive[TEXT], ours.negative[TEXT], ours.positive[POOLED], ours.negative[POOLED])
    for one, two in zip(told, texts, strict=True):
        assert torch.equal(one, two)


def test_the_sizes_are_those_of_an_uncropped_image(encode: Encode) -> None:
    """Given a width and a height, when encoded, then both sides are told the height first, twice, and no crop."""
    told = encode("cat", "dog", width=1000, height=1032)
    for side in (told.positive, told.negative):
        assert side[SIZES].tolist() == [[1032, 1000, 0, 0, 1032, 1000]]


def test_other_sizes_are_told_as_asked_for(checkpoint: Checkpoint) -> None:
    """Given sizes of one's own, when encoded, then both sides are told them instead of the image's."""
    inputs = ConditioningInputs("cat", "dog", 64, 96, 7.5, 1, (512, 768), (3, 5), (1000, 1024))
    with torch.no_grad():
        told = FAMILY.encode(checkpoint, inputs)
    for side in (told.positive, told.negative):
        assert side[SIZES].tolist() == [[512, 768, 3, 5, 1000, 1024]]


def test_requests_that_tell_other_sizes_share_passes(
    engine: Engine, request_for: Callable[..., DenoiseRequest], passes: list[int]
) -> None:
    """Given requests that differ in the sizes that they tell alone, when they run together, then they share passes, and
    each gets the image that it has alone, which is no other's."""
    ways: list[dict[str, Any]] = [
        {},
        {"original_size": (64, 96), "crops_coords_top_left": (300, 5)},
        {"original_size": (2048, 1024), "target_size": (1000, 1024)},
    ]
    requests = [request_for(model=NAME, sampler="k_euler", steps=4, **way) for way in ways]
    solo = alone(engine, requests)
    shared = together(engine, requests, request_for(model=NAME, steps=12), passes)
    assert min(decibels(one.image, two.image) for one, two in zip(solo, shared, strict=True)) >= SAME
    for one, two in itertools.combinations(solo, 2):
        assert decibels(one.image, two.image) < SAME


def test_sizes_are_exact_in_16_bits(cache: CheckpointCache) -> None:
    """Given a denoiser in bfloat16, when encoded, then the texts are of its type and the sizes still exact."""
    loaded = cache.get(NAME, Precision("autocast", torch.bfloat16, torch.float32), ())
    with torch.no_grad():
        told = FAMILY.encode(loaded, ConditioningInputs("cat", "", 1000, 1032, 7.5)).positive
    assert told[TEXT].dtype == told[POOLED].dtype == torch.bfloat16
    assert told[SIZES].tolist() == [[1032, 1000, 0, 0, 1032, 1000]]


def test_weights_scale_tokens_in_each_text_and_leave_the_pooled_one(encode: Encode) -> None:
    """Given a weight, when applied, then its token grows in both texts, the mean of each is as before, and the pooled
    text knows nothing of it."""
    plain, heavy = encode("red cat").positive, encode("(red:1.5) cat").positive
    for own in (slice(None, WIDTH), slice(WIDTH, None)):
        before, after = plain[TEXT][..., own], heavy[TEXT][..., own]
        torch.testing.assert_close(after.mean(), before.mean(), rtol=1e-4, atol=1e-6)
        ratio = (after / before)[0].mean(dim=1)
        torch.testing.assert_close(ratio[1] / ratio[2], torch.tensor(1.5), rtol=1e-4, atol=1e-4)
    assert torch.equal(heavy[POOLED], plain[POOLED])


def test_a_long_prompt_is_pooled_in_its_first_chunk(encode: Encode) -> None:
    """Given several chunks, when encoded, then all are told, and the pooled text is that of the first alone."""
    first, both = encode("a red cat").positive, encode("a red cat BREAK white duck").positive
    assert both[TEXT].shape == (1, 2 * 77, 40)
    assert torch.equal(both[TEXT][:, :77], first[TEXT])
    assert torch.equal(both[TEXT][:, 77:], encode("white duck").positive[TEXT])
    assert torch.equal(both[POOLED], first[POOLED])


@pytest.mark.parametrize(("prompt", "negative"), [("cat " * 160, ""), ("cat " * 160, "dog"), ("cat", "dog " * 160)])
def test_both_sides_have_as_many_chunks(prompt: str, negative: str, encode: Encode) -> None:
    """Given a long text on one side, when encoded, then the other is as long, also where it is nothing but zeros."""
    told = encode(prompt, negative)
    assert told.positive[TEXT].shape == told.negative[TEXT].shape == (1, 3 * 77, 40)
    assert told.positive[POOLED].shape == told.negative[POOLED].shape


def test_subprompts_blend_texts_and_pooled_texts(encode: Encode) -> None:
    """Given weighted sub-prompts, when encoded, then everything they tell is the weighted mean, and what is kept of
    them stays as it was."""
    one, two = encode("tabby cat").positive, encode("white duck").positive
    for _ in range(2):
        blended = encode("tabby cat:1 white duck:3").positive
        for name in (TEXT, POOLED):
            torch.testing.assert_close(blended[name], 0.25 * one[name] + 0.75 * two[name])
    assert torch.equal(encode("tabby cat").positive[POOLED], one[POOLED])


def test_what_an_item_is_told_goes_with_it_to_its_core(checkpoint: Checkpoint, encode: Encode) -> None:
    """Given items of other texts and sizes, when the batch is shared among cores, then each has what it has alone."""
    told = [encode("red cat").positive, encode("duck", width=512).positive, encode("dog", height=96).positive]
    told = [{**side, TEXT: checkpoint.project_text(side[TEXT])} for side in told]
    latents = torch.randn((3, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    timesteps = torch.tensor([900.0, 500.0, 20.0])
    unet = checkpoint.parts.denoiser

    def denoise(some: torch.Tensor, steps: torch.Tensor, conditioning: Any) -> torch.Tensor:
        return FAMILY.denoise(unet, some, steps, conditioning)

    together = SplitBatch(1, lambda *_: Sharing(parts=2, threads=1))(denoise, latents, timesteps, stacked(told))
    with torch.no_grad():
        for number, side in enumerate(told):
            own = slice(number, number + 1)
            alone = denoise(latents[own], timesteps[own], side)
            torch.testing.assert_close(together[own], alone, rtol=1e-5, atol=1e-5)
            other = denoise(latents[own], timesteps[own], told[number - 1])
            assert not torch.allclose(other, alone, atol=1e-4)
