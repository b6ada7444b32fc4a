"""Images drawn with LoRAs: each is the stock pipeline's with the same file, alone and beside others in a batch."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from threading import Semaphore
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from shared.errors import ModelUnavailable
from shared.request.adapters import Lora
from tests.images import SAME, decibels
from tests.worker.lora_writing import ATTENTION, EVERYWHERE, networks, write_kohya, write_peft, write_whole
from tests.worker.stock import SEED, Stock, stock_pipeline
from worker.adapters.layer_names import layer_paths
from worker.adapters.lora_file import read_lora
from worker.adapters.used_lora import UsedLora
from worker.engine import DenoiseRequest, Engine

Build = Callable[..., DenoiseRequest]
OWN = {"sampler": "ddim", "steps": 3, "noise_seed": SEED, "step_seed": SEED, "width": 72}
WRITERS: dict[str, Callable[..., Path]] = {"kohya": write_kohya, "peft": write_peft}


def drawn(engine: Engine, wanted: DenoiseRequest) -> Any:
    return engine.submit(wanted, lambda *_: None).result(120)


def assert_stock(stock: Stock, wanted: DenoiseRequest, files: Sequence[Path]) -> None:
    """The latents of the request are those of the stock pipeline with these files, and not those without."""
    loras, pipeline = wanted.params.loras, stock.pipeline(wanted.params.model)
    for lora, file in zip(loras, files, strict=True):
        pipeline.load_lora_weights(str(file), adapter_name=lora.name)
    weights = [
        {name: lora.weight if name == "unet" else lora.text_weight for name in parts(pipeline)} for lora in loras
    ]
    try:
        pipeline.set_adapters([lora.name for lora in loras], weights)
        assert not stock.assert_same_latents(wanted).warnings
    finally:
        pipeline.unload_lora_weights()
    stock.image(wanted)
    assert float((stock.latents[0] - stock.latents[-1]).abs().max()) > 1e-2


def parts(pipeline: Any) -> list[str]:
    return [name for name in ("unet", "text_encoder", "text_encoder_2") if hasattr(pipeline, name)]


FEW = {("tiny-sd1", "kohya", 0.8), ("tiny-sdxl", "peft", -0.5)}
CASES = [
    pytest.param(model, form, weight, marks=[] if (model, form, weight) in FEW else pytest.mark.full)
    for model in ("tiny-sd1", "tiny-sd2", "tiny-sdxl", "layout-sd15", "layout-sd21v", "layout-sdxl")
    for form in WRITERS
    for weight in (0.3, 0.8, 1.0, -0.5)
]


@pytest.mark.parametrize(("model", "form", "weight"), CASES)
def test_a_lora_alone_is_that_of_the_stock_pipeline(
    model: str, form: str, weight: float, stock: Stock, request_for: Build, known: Callable[[str], Path]
) -> None:
    """Given a LoRA of attention, feed-forward layers and convolutions, when it is drawn with, then the latents are
    those of diffusers' own pipeline with `load_lora_weights` at that weight."""
    file = WRITERS[form](known("sketch"), stock.models_dir / model, ends=EVERYWHERE)
    wanted = request_for(model=model, loras=(Lora("sketch", weight, weight),), **OWN)
    assert_stock(stock, wanted, [file])


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")  # two are meant
@pytest.mark.parametrize("model", ["tiny-sd1", pytest.param("tiny-sdxl", marks=pytest.mark.full)])
def test_two_loras_are_those_of_the_stock_pipeline(
    model: str, stock: Stock, request_for: Build, known: Callable[[str], Path]
) -> None:
    """Given two LoRAs of different ranks and kinds of file, when both are drawn with, one of them with another weight
    for the text, then the latents are those of diffusers with both set."""
    files = [
        write_kohya(known("one"), stock.models_dir / model, ends=EVERYWHERE, rank=3, seed=1),
        write_peft(known("two"), stock.models_dir / model, ends=ATTENTION, rank=8, seed=2),
    ]
    wanted = request_for(model=model, loras=(Lora("one", 0.5, 0.5), Lora("two", 0.7, -0.2)), **OWN)
    assert_stock(stock, wanted, files)


@pytest.mark.parametrize(
    ("model", "arrivals"),
    [("tiny-sd1", 0), *(pytest.param(model, arrivals, marks=pytest.mark.full)
                        for model in ("tiny-sd1", "tiny-sdxl", "layout-sd15") for arrivals in (1, 2, 3))],
)  # fmt: skip
def test_a_mixed_batch_draws_each_as_if_it_were_alone(
    model: str, arrivals: int, engine: Engine, models_dir: Path, request_for: Build, known: Callable[[str], Path]
) -> None:
    """Given 16 requests with eight different sets of LoRAs and with none, guided and not, when they come at random
    while others are drawn, then each image is the one that the request gets alone."""
    write_kohya(known("one"), models_dir / model, ends=EVERYWHERE, rank=3, seed=1)
    write_peft(known("two"), models_dir / model, ends=ATTENTION, rank=8, seed=2)
    write_kohya(known("three"), models_dir / model, ends=(".conv1", ".to_v"), rank=16, seed=3)
    sets: list[tuple[Lora, ...]] = [
        (Lora("one"),), (Lora("two", 0.5, 1.0),), (), (Lora("three"),), (Lora("one"), Lora("two")), (),
        (Lora("three", -0.5, 0.0), Lora("one", 0.3, 0.3)), (Lora("one", 0.4, 0.4),), (Lora("two", 0.0, 1.0),),
        (Lora("three", 1.0, 0.0), Lora("two"), Lora("one", -0.2, 0.0)),
    ]  # fmt: skip
    random = Random(arrivals)
    requests = [
        request_for(
            model=model, sampler="ddim", steps=random.randint(2, 4), loras=sets[at % len(sets)], noise_seed=7 + at,
            guidance_scale=random.choice((1.0, 5.0, 7.5)),
        )
        for at in range(16)
    ]  # fmt: skip
    alone = [drawn(engine, wanted).image for wanted in requests]
    order, told, tickets = random.sample(range(16), 16), Semaphore(0), {}
    # one that lasts until all are here
    company = engine.submit(request_for(model=model, sampler="ddim", steps=60), lambda *_: told.release())
    for at in order:
        for _ in range(random.choice((0, 0, 0, 1, 3))):
            assert told.acquire(timeout=60)
        tickets[at] = engine.submit(requests[at], lambda *_: told.release())
    together = [tickets[at].result(120).image for at in range(16)]
    company.cancel()
    assert min(decibels(one, other) for one, other in zip(alone, together, strict=True)) >= SAME
    assert len({image.tobytes() for image in alone}) == 16


def test_what_has_no_place_in_the_model_is_told(
    engine: Engine, models_dir: Path, request_for: Build, known: Callable[[str], Path]
) -> None:
    """Given a LoRA with layers that the model lacks, when it is drawn with, then a warning names them, and the receipt
    has the hash of the file as it was read; replaced, the next one has the new file's."""
    file = known("sketch")
    write_kohya(file, models_dir / "tiny-sd1")
    strange = dict(load_file(file)) | {"lora_te_strange.lora_down.weight": torch.ones(1, 4)}
    save_file(strange | {"lora_te_strange.lora_up.weight": torch.ones(4, 1), "other": torch.ones(1)}, file)
    wanted = request_for(loras=(Lora("sketch", 0.5, 0.25),), steps=1)
    first = drawn(engine, wanted)
    assert first.warnings == (
        "loras: of 'sketch' is left out what the model 'tiny-sd1' has no place for: other, lora_te_strange.",
    )
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert first.used["loras"] == [{"name": "sketch", "hash": digest, "weight": 0.5, "text_weight": 0.25}]
    write_kohya(file, models_dir / "tiny-sd1", seed=5)
    second = drawn(engine, wanted)
    assert second.used["loras"][0]["hash"] == hashlib.sha256(file.read_bytes()).hexdigest() != digest
    assert second.image.tobytes() != first.image.tobytes()
    assert "loras" not in drawn(engine, request_for(steps=1)).used


@pytest.mark.parametrize(
    ("made_for", "told"),
    [("tiny-sdxl", "is made for a layer of another shape"), ("nothing", "has none of the layers that it changes"),
     ("norm", "is made for a layer of another shape"), ("positions", "is made for a layer of another shape"),
     ("absent", "No LoRA is called 'sketch' here")],
)  # fmt: skip
def test_a_lora_that_does_not_fit_ends_its_own_request(
    made_for: str, told: str, engine: Engine, models_dir: Path, request_for: Build, known: Callable[[str], Path]
) -> None:
    """Given a LoRA for another kind of model, one with other layers or one whose name means none, when it is asked for,
    then that request ends with a sentence that names it."""
    if made_for == "tiny-sdxl":
        write_kohya(known("sketch"), models_dir / "tiny-sdxl")
    elif made_for == "nothing":
        names = ("lora_unet_x.lora_down.weight", "lora_unet_x.lora_up.weight")
        save_file(dict(zip(names, (torch.ones(2, 8), torch.ones(8, 2)), strict=True)), known("sketch"))
    elif made_for == "norm":
        name = "lora_te_text_model_final_layer_norm"
        save_file({f"{name}.weight": torch.ones(16), f"{name}.on_input": torch.tensor(True)}, known("sketch"))
    elif made_for == "positions":
        save_file({"lora_te_text_model_embeddings.diff": torch.ones(1, 77)}, known("sketch"))
    with pytest.raises(ModelUnavailable, match=told):
        drawn(engine, request_for(loras=(Lora("sketch"),)))


@pytest.mark.parametrize(
    "kind", ["dora", pytest.param("norms", marks=pytest.mark.full), pytest.param("full", marks=pytest.mark.full)]
)
def test_what_is_merged_is_the_stock_pipeline_with_these_weights(
    kind: str, stock: Stock, request_for: Build, known: Callable[[str], Path], tmp_path: Path
) -> None:
    """Given an adapter that needs a layer's weights beside a plain LoRA, when both are drawn with beside a request
    without, then the latents are those of a model with both in its weights, and the model's own weights stay as they
    are."""
    engine, latents, folder = stock.engine, stock.latents, stock.models_dir / "tiny-sd1"
    write_whole(known("whole"), folder, kind)
    write_kohya(known("plain"), folder, ends=ATTENTION)
    wanted = request_for(loras=(Lora("whole", 0.7, 0.4), Lora("plain", 0.5, 0.5)), **OWN)
    before = drawn(engine, request_for(**OWN)).image
    with engine._inbox.changed:
        tickets = [engine.submit(each, lambda *_: None) for each in (wanted, request_for(**OWN))]
    merged, plain = (ticket.result(120) for ticket in tickets)
    assert plain.image.tobytes() == before.tobytes()
    assert not merged.warnings
    shutil.copytree(folder, tmp_path / "merged")
    originals, changed_networks = networks(folder), networks(folder)
    for used in (UsedLora(lora, read_lora(tmp_path / f"{lora.name}.safetensors")) for lora in wanted.params.loras):
        for (network, layer), change in used.file.changes.items():
            path = layer_paths(network, changed_networks[network])[layer]
            module: Any = changed_networks[network].get_submodule(path)
            original: Any = originals[network].get_submodule(path)
            for name, difference in zip(("weight", "bias"), change.differences(original.weight), strict=True):
                if difference is not None:
                    own = getattr(module, name)
                    own.data += difference.detach() * used.weight_in(network)
    for network, changed_network in changed_networks.items():
        changed_network.save_pretrained(tmp_path / "merged" / network)
    stock.image(wanted, stock_pipeline(tmp_path / "merged"))
    ours = next(each for each in latents[1:3] if not torch.equal(each, latents[0]))
    assert float((ours - latents[-1]).abs().max()) <= 1e-4
    assert float((latents[0] - latents[-1]).abs().max()) > 1e-2
