"""What the tests of the worker share: its tiny models as they lie on the disk, an engine, and requests to it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.catalogue.entries import load_catalogue
from shared.catalogue.kinds import LORA
from shared.catalogue.models import Catalogue, Model, OtherFile
from shared.request.sampling import SamplingParams
from shared.settings import Settings
from tests.worker.ldm_models import write_tiny_ldm
from tests.worker.sd_models import write_inpainting, write_layout, write_tiny_model
from tests.worker.stock import Stock
from tests.worker.xl_models import write_tiny_xl, write_xl_layout
from worker.engine import DenoiseRequest, Engine

# name -> family, padding token, prediction type: what tells the two families apart
LAYOUTS = {
    "layout-sd15": ("sd1", "<|endoftext|>", "epsilon"),
    "layout-sd21v": ("sd2", "!", "v_prediction"),
}
MODELS = {"tiny-sd1": ("sd1", "<|endoftext|>", "epsilon"), "tiny-sd2": ("sd2", "!", "v_prediction")}

# those that are told the mask
INPAINTING = {"tiny-sd1-inpaint": "sd1", "tiny-sd2-inpaint": "sd2", "tiny-sdxl-inpaint": "sdxl"}


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MODELS_DIR with the tiny models and the layouts of all families."""
    root = tmp_path_factory.mktemp("models")
    for name, (_, pad_token, prediction_type) in MODELS.items():
        write_tiny_model(root / name, pad_token, prediction_type)
    for name, layout in LAYOUTS.items():
        write_layout(root / name, *layout)
    write_tiny_xl(root / "tiny-sdxl")
    write_xl_layout(root / "layout-sdxl")
    write_tiny_ldm(root / "tiny-ldm")
    for name in INPAINTING:
        write_inpainting(root / name.removesuffix("-inpaint"), root / name)
    return root


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    """All of them, the trained demo model, and one whose weights are nowhere."""
    families = {name: family for name, (family, _, _) in (MODELS | LAYOUTS).items()}
    families |= {"tiny-sdxl": "sdxl", "layout-sdxl": "sdxl", "tiny-ldm": "ldm", "absent": "sd1"} | INPAINTING
    models = {
        name: Model(name, name, (), f"hub:nobody/{name}", family, ("v1-inference.yaml",), 64, 512)
        for name, family in families.items()
    }
    demo = load_catalogue("demo").default
    return Catalogue(models | {demo.name: demo}, "tiny-sd1")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Sums split over another number of threads differ in their last bit; the engine of the tests has one."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def float32_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor without bfloat16 arithmetic, so that the tests compute the same everywhere."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)


@pytest.fixture(scope="session")
def settings(models_dir: Path) -> Settings:
    return Settings(models_dir=models_dir, device="cpu", torch_threads=1, default_model="tiny-sd1")


@pytest.fixture(scope="session")
def engine(settings: Settings, catalogue: Catalogue) -> Iterator[Engine]:
    """A running engine, shared by all tests that leave it as it was."""
    engine = Engine(settings, catalogue)
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture
def known(catalogue: Catalogue, tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Where the file of a LoRA belongs, which is known from then on."""
    before = catalogue.contents()
    others: list[OtherFile] = []

    def place(name: str) -> Path:
        file = tmp_path / f"{name}.safetensors"
        others.append(OtherFile(name, LORA, "", f"MODELS_DIR/{file.name}", 0, "is a LoRA", file))
        catalogue.replace(replace(before, others=tuple(others)))
        return file

    yield place
    catalogue.replace(before)


@pytest.fixture
def fresh(settings: Settings, catalogue: Catalogue) -> Iterator[Engine]:
    """An engine that has measured nothing yet and has no model in memory."""
    engine = Engine(settings, catalogue)
    engine.start()
    yield engine
    engine.stop()


PLAIN = DenoiseRequest(
    SamplingParams(
        model="tiny-sd1",
        negative_prompt="blue dog",
        sampler="ddim",
        steps=4,
        guidance_scale=7.5,
        width=64,
        height=64,
    ),
    prompt="a photo of the red cat",
    noise_seed=42,
    step_seed=42,
)


def changed(request: DenoiseRequest, **different: Any) -> DenoiseRequest:
    """The request with other values of its own and of its parameters."""
    params = {name: value for name, value in different.items() if hasattr(request.params, name)}
    own = {name: value for name, value in different.items() if name not in params}
    return replace(request, params=replace(request.params, **params), **own)


@pytest.fixture
def request_for() -> Callable[..., DenoiseRequest]:
    """A small request, with whatever a test wants different."""

    def build(**different: Any) -> DenoiseRequest:
        return changed(PLAIN, **different)

    return build


@pytest.fixture
def latents(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The final latents as the sampler leaves them, in the order of the images; the decoder gets them divided."""
    import diffusers

    seen: list[torch.Tensor] = []
    decode = diffusers.AutoencoderKL.decode

    def recording(vae: Any, z: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        seen.append(z * vae.config.scaling_factor)
        return decode(vae, z, *arguments, **named)

    monkeypatch.setattr(diffusers.AutoencoderKL, "decode", recording)
    return seen


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batch items of every forward pass, as they happen."""
    from diffusers import UNet2DConditionModel

    items: list[int] = []
    call = UNet2DConditionModel.__call__

    def counting(unet: Any, sample: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        items.append(len(sample))
        return call(unet, sample, *arguments, **named)

    monkeypatch.setattr(UNet2DConditionModel, "__call__", counting)
    return items


@pytest.fixture(scope="module")
def stock_pipelines() -> dict[str, Any]:
    """The stock pipelines that the tests of a module have loaded, by model."""
    return {}


@pytest.fixture
def stock(engine: Engine, models_dir: Path, stock_pipelines: dict[str, Any], latents: list[torch.Tensor]) -> Stock:
    """The stock pipelines beside the engine."""
    return Stock(engine, models_dir, stock_pipelines, latents)
