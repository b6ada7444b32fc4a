"""From a prompt to what the UNet is told."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from shared.catalogue.models import Catalogue
from shared.errors import TooCostly
from shared.request.cost import MAX_CHUNKS, least_chunks, least_tokens
from shared.request.prompts import parse_prompt
from shared.settings import Settings
from worker.engine import DenoiseRequest, Ticket
from worker.engine.options import resolve
from worker.engine.running import RunningRequest
from worker.families import FAMILIES
from worker.hardware.devices import Device
from worker.hardware.variants import choose_precision, profile_for
from worker.models.cache import CheckpointCache
from worker.models.checkpoint import Checkpoint
from worker.text.clip import Clip, tokenized
from worker.text.conditioning import TEXT, Conditioning, ConditioningInputs

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
            inputs = ConditioningInputs(prompt, negative, 64, 64, 7.5)
            return FAMILIES[checkpoint.model.family].encode(checkpoint, inputs)

    return encode


@pytest.fixture
def encode(both: Callable[[str, str], Conditioning]) -> Encode:
    """The positive side alone."""
    return lambda prompt, negative="": both(prompt, negative).positive[TEXT]


@pytest.mark.parametrize("prompt", ["", "a cat", "A photo of the RED cat, café \n 12", "cat " * 75])
def test_a_plain_prompt_is_encoded_as_the_stock_pipeline_does(
    prompt: str, checkpoint: Checkpoint, both: Callable[[str, str], Conditioning], models_dir: Path
) -> None:
    """Given a prompt without weights in one chunk, when it is encoded, then it is stock's encoding in every bit."""
    import diffusers

    stock: Any = diffusers.StableDiffusionPipeline(
        unet=checkpoint.parts.denoiser,
        vae=checkpoint.parts.vae,
        text_encoder=checkpoint.parts.text_encoders["text_encoder"],
        tokenizer=checkpoint.parts.tokenizers["tokenizer"],
        scheduler=diffusers.DDIMScheduler.from_pretrained(models_dir / "tiny-sd1", subfolder="scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    with torch.no_grad():
        positive, negative = stock.encode_prompt(prompt, "cpu", 1, True, "blue dog")
    ours = both(prompt, "blue dog")
    assert torch.equal(ours.positive[TEXT], positive)
    assert torch.equal(ours.negative[TEXT], negative)


def test_both_sides_have_as_many_chunks(both: Callable[[str, str], Conditioning]) -> None:
    """Given a long prompt and a short negative one, when they are encoded, then both have the chunks of the longer."""
    for prompt, negative in (("cat " * 160, "dog"), ("cat", "dog " * 160)):
        sides = both(prompt, negative)
        assert sides.positive[TEXT].shape == sides.negative[TEXT].shape == (1, 3 * 77, 16)


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
    ("prompt", "plain"),
    [
        ("16:9 a red cat", r"16\:9 a red cat"),
        ("picture: a red cat", r"picture\: a red cat"),
        ("a red cat <lora:nice_v2:0.8>", "a red cat"),
        ("<lora:nice_v2:0.8> a red cat", "a red cat"),
    ],
)
def test_what_is_no_weight_and_no_word_changes_nothing(prompt: str, plain: str, encode: Encode) -> None:
    """Given an ordinary colon, or a tag, when encoded on either side, then it is the plain text in every bit."""
    assert torch.equal(encode(prompt), encode(plain))


def test_a_negative_share_leads_away(encode: Encode) -> None:
    """Given weights that sum to less than zero, when encoded, then each part keeps its sign."""
    torch.testing.assert_close(encode("red cat:1 white duck:-2"), encode("red cat") - 2 * encode("white duck"))


def test_what_was_read_otherwise_is_said_of_its_side(both: Callable[[str, str], Conditioning]) -> None:
    """Given a split prompt and a tag on the other side, when encoded, then the warnings name the fields."""
    warnings = both("cat:1 dog:3", "<lora:x:1> duck").warnings
    assert [warning.split(":")[0] for warning in warnings] == ["prompt", "negative_prompt"]
    assert "'dog' (share 0.75)" in warnings[0]
    assert both("a (red:1.3) cat at 7:30", "dog").warnings == ()


@pytest.mark.parametrize("prompt", ["cat " * (75 * 32 + 1), "cat:1 " * 33, "BREAK " * 32 + "cat", "1 " * 20_000])
def test_more_chunks_than_may_be_are_refused_before_anything_is_encoded(
    prompt: str, checkpoint: Checkpoint, both: Callable[[str, str], Conditioning], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given 33 chunks on a side, when they are to be encoded, then it is TooCostly and the encoder was never run."""
    monkeypatch.setattr(checkpoint.parts.text_encoders["text_encoder"], "forward", None)
    for sides, field in (((prompt, ""), "of prompt"), (("", prompt), "of negative_prompt")):
        with pytest.raises(TooCostly, match=field):
            both(*sides)


def test_as_many_chunks_as_may_be_are_encoded(both: Callable[[str, str], Conditioning]) -> None:
    """Given 32 chunks, when they are encoded, then all of them are there."""
    assert both("cat " * (75 * MAX_CHUNKS), "").positive[TEXT].shape[1] == MAX_CHUNKS * 77


def test_the_memory_of_a_blend_does_not_grow_with_its_parts(encode: Encode) -> None:
    """Given many sub-prompts beside a long one, when encoded, then both sides hold a few encodings at once, not all."""
    many = "cat " * (75 * 4) + ":1 " + "dog:1 " * (MAX_CHUNKS - 4)
    encode(many)  # the encodings of the chunks are kept from now on
    with LiveBytes() as live:
        row = encode(many)
    assert live.peak <= 5 * row.nbytes


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors made while it is on and still alive; `peak` is the most there were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch gives it no types
        self.peak = self.now = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made not in _Identities(args):
            size = made.nbytes
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(made, self._free, size)
        return made

    def _free(self, size: int) -> None:
        self.now -= size


class _Identities:
    """Membership by identity: tensors compare by their values."""

    def __init__(self, values: Any) -> None:
        self._ids = {id(value) for value in values}

    def __contains__(self, value: object) -> bool:
        return id(value) in self._ids


@hypothesis.settings(
    deadline=None, max_examples=200, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(
    st.lists(
        st.one_of(
            st.sampled_from(
                ["cat", "it's", "😀" * 9, "!!!", "…" * 20, "猫が", "e\u0301", "İ", "²", "१२", "<|endoftext|>", "_" * 50]
            ),
            st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn", "Co")), max_size=8),
            st.sampled_from(["BREAK", ":1 ", " "]),
        ),
        max_size=30,
    ).map("".join)
)
@hypothesis.example("İ<|endoftext|><|endoftext|>")
def test_the_estimate_is_never_above_the_count(checkpoint: Checkpoint, prompt: str) -> None:
    """Given any text, when its tokens and chunks are estimated without a tokenizer, then no less are really there."""
    counted = checkpoint.parts.tokenizers["tokenizer"](prompt, add_special_tokens=False).input_ids
    assert least_tokens(prompt) <= len(counted)
    really = [len(part) for _, part in tokenized(checkpoint, Clip(), prompt)]
    assert all(least <= real for least, real in zip(least_chunks(parse_prompt(prompt)), really, strict=True))


@pytest.mark.parametrize(
    "prompt", ["cat:1 dog:-1", "(cat:0)", "(cat:-3)", "(" * 3000 + "cat", "\ud83d 猫 😀", "<|endoftext|>"]
)
def test_odd_prompts_give_finite_encodings(prompt: str, encode: Encode) -> None:
    """Given weights that cancel, vanish or explode, or odd letters, when encoded, then every number is finite."""
    assert bool(torch.isfinite(encode(prompt)).all())


def test_the_images_of_a_row_share_what_their_text_tells(
    checkpoint: Checkpoint, request_for: Callable[..., DenoiseRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given requests of one text and of others, when they are under way, then the text is projected once, another text
    or guidance has its own, and nothing is kept when all have ended."""
    projected: list[torch.Tensor] = []
    project = checkpoint.project_text

    def noted(text: torch.Tensor) -> torch.Tensor:
        projected.append(project(text))
        return projected[-1]

    monkeypatch.setattr(checkpoint, "project_text", noted)

    def begin(**different: Any) -> RunningRequest:
        request = request_for(**different)
        return RunningRequest(Ticket(request, lambda *_: None), checkpoint, resolve(request.params, CPU, PROFILE))

    with torch.no_grad():
        same = [begin(noise_seed=seed, steps=3 + seed) for seed in range(5)]
        assert len(projected) == 2
        assert all(running.conditioning_items is same[0].conditioning_items for running in same)
        others = [begin(prompt="another"), begin(negative_prompt="another"), begin(guidance_scale=1.0)]
        assert len(projected) == 7
        assert len({id(running.conditioning_items) for running in (*same, *others)}) == 4
        own = FAMILIES[checkpoint.model.family].encode(
            checkpoint, ConditioningInputs(same[0].ticket.request.prompt, "", 64, 64, 7.5)
        )
        assert torch.equal(same[0].conditioning_items[1][TEXT], project(own.positive[TEXT]))
    same.clear()
    others.clear()
    gc.collect()
    assert len(checkpoint.conditionings) == 0
