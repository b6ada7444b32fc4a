"""What a folder in the diffusers layout is, from its configs and the names of its files."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.catalogue.distilled import distillation_of_scheduler
from shared.catalogue.families import FAMILY_FACTS, FamilyFacts
from shared.catalogue.kinds import CHECKPOINT, FAMILY_NAMES
from shared.catalogue.recognition import EPSILON, FileFacts
from shared.catalogue.tensors import NotUsable

INDEX = "model_index.json"
_CONFIG_BYTES = 1024 * 1024
_VAE = ""
_TEXT_TO_IMAGE = "put a text-to-image model in its place"
_VARIANTS: Mapping[str | None, str] = {None: "", "fp16": ".fp16"}
_PIPELINES: Mapping[str, str] = {
    "StableDiffusionXLInpaintPipeline": "sdxl", "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusionXLImg2ImgPipeline": "sdxl-refiner", "StableDiffusion3Pipeline": "sd3", "FluxPipeline": "flux",
    "ChromaPipeline": "chroma", "AuraFlowPipeline": "auraflow", "QwenImagePipeline": "qwen-image",
    "ZImagePipeline": "lumina", "Lumina2Pipeline": "lumina", "HiDreamImagePipeline": "hidream", "WanPipeline": "wan",
    "PixArtAlphaPipeline": "pixart", "PixArtSigmaPipeline": "pixart", "LDMTextToImagePipeline": "ldm",
}  # fmt: skip


@dataclass(frozen=True)
class _Check:
    """A value of a part's config that the engine can do with; of no part: the VAE, which families put into folders of
    different names. `sentence` says what the model is otherwise."""

    part: str
    key: str
    fits: Callable[[Any, FamilyFacts], bool]
    sentence: str


def _absent(value: Any, _: FamilyFacts) -> bool:
    return value is None


def _latent(value: Any, facts: FamilyFacts) -> bool:
    return value in (None, facts.latent_channels)


def _read(value: Any, facts: FamilyFacts) -> bool:
    return value in (None, facts.latent_channels, facts.masked_channels)


def _nothing(value: Any, _: FamilyFacts) -> bool:
    return not value


def _addition(value: Any, facts: FamilyFacts) -> bool:
    return bool(value == facts.addition_embed_type)


_UNET = "unet"
_CHECKS = (
    _Check(_UNET, "in_channels", _read,
           f"is a variant with {{value}} input channels (depth, instruct-pix2pix and the like); {_TEXT_TO_IMAGE}"),
    _Check(_UNET, "out_channels", _latent, f"gives {{value}} channels, which no VAE here reads; {_TEXT_TO_IMAGE}"),
    _Check(_UNET, "addition_embed_type", _addition,
           f"takes other inputs beside the text ({{value}}) than its family; {_TEXT_TO_IMAGE}"),
    _Check(_UNET, "class_embed_type", _absent, f"takes a class or an image beside the text; {_TEXT_TO_IMAGE}"),
    _Check(_UNET, "num_class_embeds", _absent, f"takes a class or a noise level beside the text; {_TEXT_TO_IMAGE}"),
    _Check(_UNET, "encoder_hid_dim", _absent, f"takes an image or another text encoder; {_TEXT_TO_IMAGE}"),
    _Check(_UNET, "encoder_hid_dim_type", _absent, f"takes an image or another text encoder; {_TEXT_TO_IMAGE}"),
    _Check(_VAE, "latent_channels", _latent, f"has a VAE of {{value}} channels; {_TEXT_TO_IMAGE}"),
    _Check(_VAE, "shift_factor", _nothing, f"has the VAE of another family (shift_factor); {_TEXT_TO_IMAGE}"),
    _Check(_VAE, "latents_mean", _nothing, f"has the VAE of another family (latents_mean); {_TEXT_TO_IMAGE}"),
)  # fmt: skip
# of these the engine knows every input; a family that is added answers for its own
_CHECKED = ("sd1", "sd2", "sdxl", "ldm")
# original height and width, crop, target height and width; a refiner is told five numbers
_SIZES_TOLD = 6


def is_folder_of_parts(folder: Path) -> bool:
    """Whether it is meant as a model: it has an index, or a denoiser."""
    return (folder / INDEX).is_file() or any(
        (folder / part / "config.json").is_file() for part in (_UNET, "transformer")
    )


def recognise_folder(folder: Path) -> FileFacts:
    """The facts of a folder. What keeps it from being drawn with is in `refusal`, in the words of `NotUsable`."""
    try:
        index, unet, text = (
            read_config(folder, *place) for place in ((INDEX,), (_UNET, _CONFIG), ("text_encoder", _CONFIG))
        )
        scheduler = read_config(folder, "scheduler", "scheduler_config.json")
    except NotUsable as broken:
        return FileFacts(kind=CHECKPOINT, sentence=str(broken), refusal=str(broken))
    family = _PIPELINES.get(str(index.get("_class_name", "")), "")
    if family == "sdxl-refiner" and text:
        family = "sdxl"  # a refiner has the second text encoder alone
    if not family:
        second = unet.get("use_linear_projection") or text.get("hidden_act") == "gelu"
        family = "sd2" if second else "sd1"
    size = unet.get("sample_size")
    prediction = str(scheduler.get("prediction_type", EPSILON))
    told_guidance = unet.get("time_cond_proj_dim") is not None
    distilled = distillation_of_scheduler(scheduler, prediction == EPSILON)
    facts = FileFacts(
        kind=CHECKPOINT,
        family=family,
        sentence=f"is a {FAMILY_NAMES[family]} model",
        prediction=prediction,
        zero_snr=bool(scheduler.get("rescale_betas_zero_snr")),
        channels=unet.get("in_channels", 4) if isinstance(unet.get("in_channels", 4), int) else 0,
        distilled="lcm" if told_guidance else distilled,
        text_width=_text_width(unet),
        told_guidance=told_guidance,
        native_size=8 * size if isinstance(size, int) and size >= 8 else 0,
    )
    if family not in FAMILY_FACTS:
        return _refused(facts, f"{facts.sentence}; {_TEXT_TO_IMAGE}")
    try:
        check_folder(folder, family, FAMILY_FACTS[family])
    except NotUsable as wrong:
        return _refused(facts, str(wrong))
    return facts


def text_width_of(folder: Path) -> int:
    """How wide the texts are that the denoiser in a folder reads; 0 where that is not told."""
    try:
        return _text_width(read_config(folder, _UNET, _CONFIG))
    except NotUsable:
        return 0


def _text_width(unet: Mapping[str, Any]) -> int:
    width = unet.get("cross_attention_dim")
    return width if isinstance(width, int) else 0


def _refused(facts: FileFacts, sentence: str) -> FileFacts:
    return FileFacts(**{**vars(facts), "refusal": sentence})


_CONFIG = "config.json"


def check_folder(folder: Path, family: str, facts: FamilyFacts) -> None:
    """Raises NotUsable, saying what the folder lacks or what else it is, unless a model of the family lies there."""
    if not (folder / INDEX).is_file():
        deeper = next((each for each in _folders(folder) if (each / INDEX).is_file()), None)
        if deeper is not None:
            raise NotUsable(
                f"has no {INDEX}, it lies one folder deeper, in {deeper.name}: move what is in {deeper.name} up"
            )
        raise NotUsable(f"has no {INDEX}: fetch the whole model again, with all its folders")
    denoiser, _ = facts.denoiser
    for part in (denoiser, facts.vae[0], *facts.text_encoders):
        require_weights(folder, part)
    if family in _CHECKED:
        _check_configs(folder, facts)


def _check_configs(folder: Path, facts: FamilyFacts) -> None:
    configs = {part: read_config(folder, part, _CONFIG) for part in (_UNET, *facts.text_encoders)}
    configs[_VAE] = read_config(folder, facts.vae[0], _CONFIG)
    for check in _CHECKS:
        value = configs[check.part].get(check.key)
        if not check.fits(value, facts):
            raise NotUsable(check.sentence.format(value=value))
    unet, texts = configs[_UNET], [configs[part] for part in facts.text_encoders]
    _check_width(unet.get("cross_attention_dim"), [_width(text) for text in texts], "texts")
    if facts.addition_embed_type is not None:
        widths = [texts[-1].get("projection_dim"), *[unet.get("addition_time_embed_dim")] * _SIZES_TOLD]
        _check_width(unet.get("projection_class_embeddings_input_dim"), widths, "pooled texts with sizes")


def _width(text: Mapping[str, Any]) -> Any:
    """How wide the texts of a text encoder are; BERT of latent diffusion has a name of its own for it."""
    return text.get("hidden_size", text.get("d_model"))


def _check_width(wanted: Any, given: Sequence[Any], what: str) -> None:
    if all(isinstance(width, int) for width in (wanted, *given)) and wanted != sum(given):
        raise NotUsable(
            f"has a UNet for {what} {wanted} wide and text encoders for {sum(given)}: they are of two models; fetch"
            " one again"
        )


def require_weights(folder: Path, part: str) -> str | None:
    """The variant (None or "fp16") in which the part has safetensors weights, in one file or in shards.

    Raises NotUsable where it has none.
    """
    names = {file.name for file in _files(folder / part)}
    for variant, mark in _VARIANTS.items():
        for stem in ("model", "diffusion_pytorch_model"):
            if f"{stem}{mark}.safetensors" in names:
                return variant
            index = f"{stem}.safetensors.index{mark}.json"
            if index in names:
                _require_shards(folder / part, index, names)
                return variant
    if not (folder / part).is_dir():
        raise NotUsable(f"has no folder {part}: fetch the whole model again, with all its folders")
    pickled = sorted(name for name in names if name.endswith((".bin", ".pt", ".ckpt", ".msgpack")))
    found = f" but {pickled[0]}" if pickled else ""
    raise NotUsable(f"has no safetensors weights of {part}{found}; only these are read: get them as .safetensors")


def _require_shards(folder: Path, index: str, names: set[str]) -> None:
    listed = read_config(folder, index).get("weight_map")
    shards = set(listed.values()) if isinstance(listed, dict) else set()
    if not shards or not all(isinstance(shard, str) for shard in shards):
        raise NotUsable(f"has a broken {folder.name}/{index}: fetch it again")
    if missing := sorted(shards - names):
        raise NotUsable(
            f"lacks {len(missing)} of {len(shards)} shards of {folder.name}, {missing[0]} among them: fetch them"
        )


def weights_files(folder: Path, part: str) -> list[Path]:
    """The files of a part that `require_weights` chose: one, or all shards. Raises NotUsable."""
    mark = _VARIANTS[require_weights(folder, part)]
    for stem in ("model", "diffusion_pytorch_model"):
        if (whole := folder / part / f"{stem}{mark}.safetensors").is_file():
            return [whole]
        if (folder / part / f"{stem}.safetensors.index{mark}.json").is_file():
            listed = read_config(folder, part, f"{stem}.safetensors.index{mark}.json")["weight_map"]
            return sorted(folder / part / name for name in set(listed.values()))
    return []


def read_config(folder: Path, *place: str) -> Mapping[str, Any]:
    """The JSON object in a file of the folder, {} where there is none; raises NotUsable."""
    file = folder.joinpath(*place)
    shown = "/".join(place)
    try:
        with file.open("rb") as stream:
            text = stream.read(_CONFIG_BYTES)
        found = json.loads(text.decode("utf-8-sig"))
    except FileNotFoundError:
        return {}
    except OSError as broken:
        raise NotUsable(f"has a {shown} that cannot be read ({broken.strerror}): see to its permissions") from broken
    except (ValueError, RecursionError) as broken:
        raise NotUsable(f"has a broken {shown}: fetch it again") from broken
    if not isinstance(found, dict):
        raise NotUsable(f"has a broken {shown}: fetch it again")
    return found


def _files(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.is_file()] if folder.is_dir() else []


def _folders(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else []
