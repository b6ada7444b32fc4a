"""Textual inversion: what a prompt becomes that names an embedding, against the stock pipeline."""

import copy
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from shared.catalogue.kinds import EMBEDDING
from shared.catalogue.models import Catalogue, OtherFile
from shared.settings import Settings
from tests.images import SAME, decibels
from worker.engine import DenoiseRequest, Engine
from worker.families import FAMILIES
from worker.hardware.devices import Device
from worker.hardware.variants import choose_precision, profile_for
from worker.models.cache import CheckpointCache
from worker.models.checkpoint import Checkpoint
from worker.text.conditioning import TEXT, Conditioning, ConditioningInputs
from worker.text.embeddings import EmbeddingFiles, split_at_names

CPU = Device("cpu")
PROFILE = profile_for("cpu", CPU)
FULL = choose_precision("full", PROFILE, CPU)
VECTORS = torch.randn(3, 16, generator=torch.Generator().manual_seed(1))
SECOND = torch.randn(3, 24, generator=torch.Generator().manual_seed(2))
Tell = Callable[..., Conditioning]


@pytest.fixture(scope="module")
def cache(settings: Settings, catalogue: Catalogue) -> CheckpointCache:
    return CheckpointCache(settings, catalogue, CPU, PROFILE)


@pytest.fixture
def tell(cache: CheckpointCache, catalogue: Catalogue, tmp_path: Path) -> Tell:
    """What the denoiser of a model is told, with all files of the test's folder as embeddings."""

    def told(model: str, prompt: str, negative: str = "") -> Conditioning:
        others = [
            OtherFile(file.stem, EMBEDDING, "", f"MODELS_DIR/{file.name}", file.stat().st_size, "is one", file)
            for file in sorted(tmp_path.iterdir())
        ]
        contents = catalogue.contents()
        files = EmbeddingFiles(Catalogue(contents.models, "tiny-sd1", others))
        checkpoint = cache.get(model, FULL, ())
        inputs = ConditioningInputs(prompt, negative, 64, 64, 7.5, embeddings=files.named_in((prompt, negative)))
        with torch.no_grad():
            return FAMILIES[checkpoint.model.family].encode(checkpoint, inputs)

    return told


def _a1111(vectors: torch.Tensor) -> Mapping[str, Any]:
    """As the A1111 web UI keeps them."""
    return {"string_to_token": {"*": 265}, "string_to_param": {"*": vectors}, "name": "other", "step": 500}


def _write(file: Path, vectors: torch.Tensor, form: str) -> None:
    if form == "a1111":
        torch.save(_a1111(vectors), file.with_suffix(".pt"))
    elif form == "a1111 parameters":
        kept: Any = _a1111(vectors)
        kept["string_to_param"] = torch.nn.ParameterDict({"*": torch.nn.Parameter(vectors)})
        torch.save(kept, file.with_suffix(".pt"))
    elif form == "learned_embeds.bin":
        torch.save({"<spiral>": vectors}, file.with_suffix(".bin"))
    else:
        suffix = ".SAFETENSORS" if form == "in capitals" else ".safetensors"
        save_file({"emb_params" if form == "kohya" else "<spiral>": vectors}, file.with_suffix(suffix))


def _stock(checkpoint: Checkpoint, vectors: Mapping[str, torch.Tensor]) -> Any:
    """Stock's pipeline of the model, which reads the vectors as the word `embedded`."""
    import diffusers

    parts = checkpoint.parts
    encoders, tokenizers = copy.deepcopy(dict(parts.text_encoders)), copy.deepcopy(dict(parts.tokenizers))
    scheduler = diffusers.DDIMScheduler(steps_offset=1, clip_sample=False)
    if len(encoders) > 1:
        pipeline: Any = diffusers.StableDiffusionXLPipeline(
            unet=parts.denoiser, vae=parts.vae, scheduler=scheduler, **encoders, **tokenizers,
            add_watermarker=False,
        )  # fmt: skip
    else:
        pipeline = diffusers.StableDiffusionPipeline(
            unet=parts.denoiser, vae=parts.vae, scheduler=scheduler, **encoders, **tokenizers,
            safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip
    for (key, encoder), tokenizer in zip(encoders.items(), tokenizers.values(), strict=True):
        pipeline.load_textual_inversion(
            {"embedded": vectors[key]}, token="embedded", text_encoder=encoder, tokenizer=tokenizer
        )
    return pipeline


@pytest.mark.parametrize(
    "form", ["a1111", "a1111 parameters", "kohya", "diffusers", "learned_embeds.bin", "in capitals"]
)
def test_a_named_embedding_is_told_as_the_stock_pipeline_tells_it(
    form: str, tell: Tell, cache: CheckpointCache, tmp_path: Path
) -> None:
    """Given an embedding of three vectors in each form, when prompts name it, then both texts are stock's in every
    bit."""
    _write(tmp_path / "spiral", VECTORS, form)
    stock = _stock(cache.get("tiny-sd1", FULL, ()), {"text_encoder": VECTORS})
    with torch.no_grad():
        positive, negative = stock.encode_prompt("a red embedded, cat", "cpu", 1, True, "blue embedded")
    told = tell("tiny-sd1", "a red Spiral, cat", "blue spiral")
    assert torch.equal(told.positive[TEXT], positive)
    assert torch.equal(told.negative[TEXT], negative)
    assert list(told.embeddings) == ["spiral"]
    assert len(told.embeddings["spiral"]) == 64


@pytest.mark.parametrize("names", [("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1")])
def test_xl_has_vectors_for_both_text_encoders(
    names: tuple[str, str], tell: Tell, cache: CheckpointCache, tmp_path: Path
) -> None:
    """Given a file with vectors for two text encoders, when a prompt names it, then all texts are stock's."""
    save_file(dict(zip(names, (VECTORS, SECOND), strict=True)), tmp_path / "spiral.safetensors")
    stock = _stock(cache.get("tiny-sdxl", FULL, ()), {"text_encoder": VECTORS, "text_encoder_2": SECOND})
    with torch.no_grad():
        texts = stock.encode_prompt("a red embedded, cat", device="cpu", negative_prompt="dog")
    told = tell("tiny-sdxl", "a red spiral, cat", "dog")
    torch.testing.assert_close(told.positive[TEXT], texts[0], rtol=0, atol=0)
    torch.testing.assert_close(told.positive["text_embeds"], texts[2], rtol=0, atol=0)


def test_it_takes_its_places_and_is_never_cut(tell: Tell, tmp_path: Path) -> None:
    """Given 73 words before three vectors, when the prompt is cut, then they begin the next chunk together."""
    _write(tmp_path / "spiral", VECTORS, "kohya")
    assert tell("tiny-sd1", f"{'cat ' * 72}spiral").positive[TEXT].shape[1] == 77
    told = tell("tiny-sd1", f"{'cat ' * 73}spiral").positive[TEXT]
    assert told.shape[1] == 2 * 77
    assert torch.equal(told, tell("tiny-sd1", f"{'cat ' * 73}BREAK spiral").positive[TEXT])


def test_emphasis_weighs_its_vectors(tell: Tell, tmp_path: Path) -> None:
    """Given a weight around its name, when the prompt is told, then each of its places grows against the others."""
    _write(tmp_path / "spiral", VECTORS, "kohya")
    plain, heavy = (tell("tiny-sd1", prompt).positive[TEXT] for prompt in ("red spiral", "red (spiral:1.5)"))
    ratio = (heavy / plain)[0].mean(dim=1)
    torch.testing.assert_close(ratio[2:5] / ratio[1], torch.full((3,), 1.5), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "names", "found"),
    [
        ("a spiral.", ("spiral",), ["spiral"]),
        ("spirals and aspiral, spiral2", ("spiral",), []),
        ("my_spiral my-spiral", ("spiral",), ["spiral", "spiral"]),
        ("bad-hands-5 bad", ("bad", "bad-hands-5"), ["bad-hands-5", "bad"]),
        ("SPIRAL Spiral spiral", ("Spiral", "spiral"), ["Spiral", "Spiral", "spiral"]),
        ("spiral sp\u0131ral SP\u0130RAL", ("spiral",), ["spiral"]),
    ],
)
def test_names_are_found_as_a1111_finds_them(text: str, names: tuple[str, ...], found: list[str]) -> None:
    """Given names of embeddings, when a text is looked through, then whole words count, the longest first, in any
    case."""
    pieces = split_at_names(text, names)
    assert [piece for is_name, piece in pieces if is_name] == found
    assert sum(len(piece) for _, piece in pieces) == len(text)


def test_one_of_another_family_is_a_word_and_named(tell: Tell, tmp_path: Path) -> None:
    """Given an embedding for XL and one for SD 1.x, when a prompt of 1.x names both, then one is a word, and told."""
    _write(tmp_path / "spiral", VECTORS, "kohya")
    save_file({"clip_l": torch.ones(1, 768), "clip_g": torch.ones(1, 1280)}, tmp_path / "dog.safetensors")
    told = tell("tiny-sd1", "spiral dog")
    assert list(told.embeddings) == ["spiral"]
    assert told.warnings == (
        "embeddings: 'dog' is read as text, for it is an embedding for Stable Diffusion XL, which the model 'tiny-sd1' "
        "is not.",
    )


class _Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('it ran')",)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda file: torch.save({"string_to_param": {"*": _Hostile()}}, file.with_suffix(".pt")), "would run code"),
        (lambda file: save_file({"emb_params": torch.full((1, 16), torch.nan)}, file.with_suffix(".safetensors")),
         "no numbers"),
        (lambda file: save_file({"emb_params": torch.zeros(76, 16)}, file.with_suffix(".safetensors")), "76 x 16"),
        (lambda file: save_file({"emb_params": torch.zeros(0, 16)}, file.with_suffix(".safetensors")), "0 x 16"),
        (lambda file: file.with_suffix(".safetensors").write_bytes(b"\xff" * 40), "no safetensors"),
        (lambda file: file.with_suffix(".pt").write_bytes(b"PK\x03\x04 cut"), "cut short"),
    ],
)  # fmt: skip
def test_a_broken_or_hostile_file_is_named_and_its_word_read_as_text(
    write: Callable[[Path], None], said: str, tell: Tell, tmp_path: Path
) -> None:
    """Given a file that is no embedding, when a prompt has its name, then nothing of it runs, and that is said."""
    write(tmp_path / "spiral")
    told = tell("tiny-sd1", "a spiral cat")
    assert len(told.warnings) == 1
    assert "MODELS_DIR/spiral." in told.warnings[0]
    assert said in told.warnings[0]
    assert not told.embeddings
    (next(tmp_path.iterdir())).unlink()
    assert torch.equal(told.positive[TEXT], tell("tiny-sd1", "a spiral cat").positive[TEXT])


def test_a_replaced_file_counts_from_the_next_request_on(tell: Tell, tmp_path: Path) -> None:
    """Given a file that is replaced, when its name comes again, then text and hash are those of the new one."""
    _write(tmp_path / "spiral", VECTORS, "kohya")
    before = tell("tiny-sd1", "spiral")
    _write(tmp_path / "spiral", 2 * VECTORS, "kohya")
    after = tell("tiny-sd1", "spiral")
    assert after.embeddings != before.embeddings
    assert not torch.equal(after.positive[TEXT], before.positive[TEXT])


def test_the_engine_tells_hashes_and_mixed_neighbours_change_nothing(
    settings: Settings, catalogue: Catalogue, tmp_path: Path, request_for: Callable[..., DenoiseRequest]
) -> None:
    """Given requests with and without embeddings, when they are drawn together, then each image is as alone, and the
    receipt of those that name one has its hash."""
    file = tmp_path / "spiral.safetensors"
    _write(file.with_suffix(""), VECTORS, "kohya")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    other = OtherFile("spiral", EMBEDDING, "", "MODELS_DIR/spiral.safetensors", file.stat().st_size, "is one", file)
    engine = Engine(settings, Catalogue(catalogue.contents().models, "tiny-sd1", (other,)))
    engine.start()
    try:
        requests = [request_for(prompt=prompt) for prompt in ("a cat", "a spiral", "a (spiral:1.3) cat", "a dog")]
        alone = [engine.submit(each, lambda *_: None).result(60) for each in requests]
        tickets = [engine.submit(each, lambda *_: None) for each in requests]
        together = [ticket.result(60) for ticket in tickets]
    finally:
        engine.stop()
    assert [each.used.get("embeddings") for each in together] == [
        None, [{"name": "spiral", "sha256": digest}], [{"name": "spiral", "sha256": digest}], None,
    ]  # fmt: skip
    assert all(decibels(a.image, b.image) >= SAME for a, b in zip(alone, together, strict=True))
    assert decibels(alone[0].image, alone[1].image) < SAME
