"""From a prompt to what the UNet is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import strategies as st

from shared.models import Catalogue
from shared.settings import Settings
from worker.checkpoint import Checkpoint
from worker.checkpoints import CheckpointCache
from worker.devices import Device
from worker.families import FAMILIES, Conditioning
from worker.profiles import choose_precision, profile_for

CPU = Device("cpu")
PROFILE = profile_for("cpu", CPU)
FULL = choose_precision("full", PROFILE, CPU)
Encode = Callable[..., torch.Tensor]


@pytest.fixture(scope="module")
def cache(settings: Settings, catalogue: Catalogue) -> CheckpointCache:
    return CheckpointCache(settings, catalogue, CPU, PROFILE)


@pytest.fixture(scope="module", params=["tiny-sd1", "tiny-sd2"])
def checkpoint(request: pytest.FixtureRequest, cache: CheckpointCache) -> Checkpoint:
    return cache.get(request.param, FULL, ())


@pytest.fixture
def both(checkpoint: Checkpoint) -> Callable[[str, str], Conditioning]:
    def encode(prompt: str, negative: str) -> Conditioning:
        with torch.no_grad():
            return FAMILIES[checkpoint.model.family].encode(checkpoint, prompt, negative)

    return encode


@pytest.fixture
def encode(both: Callable[[str, str], Conditioning]) -> Encode:
    """The positive side alone."""
    return lambda prompt, negative="": both(prompt, negative).positive


@pytest.mark.parametrize("prompt", ["", "a cat", "A photo of the RED cat, café \n 12", "cat " * 75])
def test_a_plain_prompt_is_encoded_as_the_stock_pipeline_does(
    prompt: str, checkpoint: Checkpoint, both: Callable[[str, str], Conditioning], models_dir: Path
) -> None:
    """Given a prompt without weights in one chunk, when it is encoded, then it is stock's encoding in every bit."""
    import diffusers

    stock: Any = diffusers.StableDiffusionPipeline(
        unet=checkpoint.unet,
        vae=checkpoint.vae,
        text_encoder=checkpoint.text_encoder,
        tokenizer=checkpoint.tokenizer,
        scheduler=diffusers.DDIMScheduler.from_pretrained(models_dir / "tiny-sd1", subfolder="scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    with torch.no_grad():
        positive, negative = stock.encode_prompt(prompt, "cpu", 1, True, "blue dog")
    ours = both(prompt, "blue dog")
    assert torch.equal(ours.positive, positive)
    assert torch.equal(ours.negative, negative)


def test_both_sides_have_as_many_chunks(both: Callable[[str, str], Conditioning]) -> None:
    """Given a long prompt and a short negative one, when they are encoded, then both have the chunks of the longer."""
    for prompt, negative in (("cat " * 160, "dog"), ("cat", "dog " * 160)):
        sides = both(prompt, negative)
        assert sides.positive.shape == sides.negative.shape == (1, 3 * 77, 16)


def test_the_first_chunk_does_not_depend_on_the_rest(encode: Encode) -> None:
    """Given a prompt, when more chunks or a longer negative prompt come, then its first chunk stays as it was."""
    alone = encode("a (red:1.4) cat")
    assert torch.equal(encode("a (red:1.4) cat BREAK dog")[:, :77], alone)
    assert torch.equal(encode("a (red:1.4) cat", "dog " * 100)[:, :77], alone)


def test_weights_scale_their_tokens_and_keep_the_mean(encode: Encode) -> None:
    """Given a weight, when it is applied, then its token grows against the others and the mean is as before."""
    plain, heavy = encode("red cat"), encode("(red:1.5) cat")
    torch.testing.assert_close(heavy.mean(), plain.mean(), rtol=1e-4, atol=1e-6)
    ratio = (heavy / plain)[0].mean(dim=1)
    torch.testing.assert_close(ratio[1] / ratio[2], torch.tensor(1.5), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ratio[0], ratio[3], rtol=1e-4, atol=1e-4)


def test_weight_one_changes_nothing(encode: Encode) -> None:
    """Given a weight of 1, when it is written out, then the encoding is the plain one in every bit."""
    assert torch.equal(encode("(cat:1.0)"), encode("cat"))


def test_subprompts_are_blended_by_their_share(encode: Encode) -> None:
    """Given weighted sub-prompts, when they are encoded, then the result is the weighted mean of their encodings."""
    blended = encode("tabby cat:1 white duck:3")
    torch.testing.assert_close(blended, 0.25 * encode("tabby cat") + 0.75 * encode("white duck"))


def test_a_blend_of_one_is_that_one(encode: Encode) -> None:
    """Given one sub-prompt with any weight, when it is encoded, then the weight means nothing."""
    assert torch.equal(encode("tabby cat:7"), encode("tabby cat"))


@hypothesis.settings(
    deadline=None, max_examples=15, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(
    st.lists(st.sampled_from(["cat", "red", "a", "the white duck"]), min_size=1, max_size=4).map(" ".join),
    st.integers(2, 4),
    st.floats(0.1, 9),
)
def test_equal_parts_with_equal_weights_are_the_plain_prompt(
    encode: Encode, text: str, parts: int, weight: float
) -> None:
    """Given a prompt said several times with one weight, when it is encoded, then it is the prompt said once."""
    repeated = " ".join([f"{text}:{weight:.3f}"] * parts)
    assert torch.allclose(encode(repeated), encode(text), atol=1e-5)


@pytest.mark.parametrize(
    "prompt", ["cat:1 dog:-1", "(cat:0)", "(cat:-3)", "(" * 3000 + "cat", "\ud83d 猫 😀", "<|endoftext|>"]
)
def test_odd_prompts_give_finite_encodings(prompt: str, encode: Encode) -> None:
    """Given weights that cancel, vanish or explode, or odd letters, when encoded, then every number is finite."""
    assert bool(torch.isfinite(encode(prompt)).all())
