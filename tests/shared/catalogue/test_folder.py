"""What a folder in the diffusers layout is, and what it lacks."""

import json
from pathlib import Path

import pytest

from shared.catalogue.families import FAMILY_FACTS
from shared.catalogue.folder import check_folder, recognise_folder, require_weights, weights_files
from shared.catalogue.tensors import NotUsable

UNET = {"in_channels": 4, "out_channels": 4, "cross_attention_dim": 768, "sample_size": 64}


def write_json(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.fixture
def folder(tmp_path):
    """A folder of SD 1.x in which nothing but the weights' names are real."""
    root = tmp_path / "a model"
    write_json(root / "model_index.json", {"_class_name": "StableDiffusionPipeline"})
    write_json(root / "unet" / "config.json", UNET)
    write_json(root / "vae" / "config.json", {"latent_channels": 4})
    write_json(root / "text_encoder" / "config.json", {"hidden_size": 768, "hidden_act": "quick_gelu"})
    write_json(root / "scheduler" / "scheduler_config.json", {"prediction_type": "epsilon"})
    for part in ("unet", "vae"):
        (root / part / "diffusion_pytorch_model.safetensors").touch()
    (root / "text_encoder" / "model.safetensors").touch()
    return root


def refusal(folder):
    return recognise_folder(folder).refusal


def test_a_sound_folder_is_a_model(folder):
    """Given a whole folder, when looked at, then family, prediction and size are known, and nothing is refused."""
    facts = recognise_folder(folder)
    assert (facts.family, facts.prediction, facts.native_size, facts.refusal) == ("sd1", "epsilon", 512, "")
    assert facts.text_width == 768
    write_json(folder / "unet" / "config.json", UNET | {"use_linear_projection": True, "sample_size": 96})
    write_json(folder / "scheduler" / "scheduler_config.json", {"prediction_type": "v_prediction"})
    facts = recognise_folder(folder)
    assert (facts.family, facts.prediction, facts.native_size) == ("sd2", "v_prediction", 768)


@pytest.mark.parametrize(
    ("part", "changes", "sentence"),
    [
        ("unet", {"in_channels": 5}, "is a variant with 5 input channels"),
        ("unet", {"in_channels": 8}, "is a variant with 8 input channels"),
        ("unet", {"out_channels": 8}, "gives 8 channels"),
        ("unet", {"addition_embed_type": "text_time"}, "takes other inputs beside the text (text_time)"),
        ("unet", {"class_embed_type": "projection"}, "takes a class or an image"),
        ("unet", {"num_class_embeds": 1000}, "takes a class or a noise level"),
        ("unet", {"encoder_hid_dim": 512}, "takes an image or another text encoder"),
        ("unet", {"encoder_hid_dim_type": "image_proj"}, "takes an image or another text encoder"),
        ("unet", {"cross_attention_dim": 1024}, "has a UNet for texts 1024 wide and text encoders for 768"),
        ("vae", {"latent_channels": 16}, "has a VAE of 16 channels"),
        ("vae", {"latent_channels": 4, "shift_factor": 0.1}, "has the VAE of another family"),
        ("vae", {"latent_channels": 4, "latents_mean": [1, 2]}, "has the VAE of another family"),
    ],
)
def test_a_folder_of_another_kind_is_called_by_its_name(folder, part, changes, sentence):
    """Given a config that asks for an input that is not given, when looked at, then it is refused by what it is."""
    write_json(folder / part / "config.json", (UNET if part == "unet" else {}) | changes)
    assert sentence in refusal(folder)
    assert refusal(folder).endswith(("in its place", "fetch one again"))


XL = UNET | {
    "cross_attention_dim": 2048, "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816, "sample_size": 128,
}  # fmt: skip


@pytest.fixture
def xl_folder(folder):
    """The same of SDXL."""
    write_json(folder / "model_index.json", {"_class_name": "StableDiffusionXLPipeline"})
    write_json(folder / "unet" / "config.json", XL)
    write_json(folder / "text_encoder_2" / "config.json", {"hidden_size": 1280, "projection_dim": 1280})
    (folder / "text_encoder_2" / "model.safetensors").touch()
    return folder


@pytest.mark.parametrize("pipeline", ["StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline"])
def test_a_folder_of_xl_is_a_model(xl_folder, pipeline):
    """Given a whole folder of SDXL, saved from either pipeline, when looked at, then it is one, 1024 pixels a side."""
    write_json(xl_folder / "model_index.json", {"_class_name": pipeline})
    facts = recognise_folder(xl_folder)
    assert (facts.family, facts.native_size, facts.refusal) == ("sdxl", 1024, "")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"cross_attention_dim": 1280}, "has a UNet for texts 1280 wide and text encoders for 2048"),
        ({"projection_class_embeddings_input_dim": 2560}, "pooled texts with sizes 2560 wide and text encoders for"),
        ({"addition_embed_type": None}, "takes other inputs beside the text (None)"),
        ({"in_channels": 5}, "is a variant with 5 input channels"),
    ],
)
def test_another_kind_of_xl_is_called_by_its_name(xl_folder, changes, sentence):
    """Given a UNet of XL that wants other inputs, when looked at, then it is refused by what it is."""
    write_json(xl_folder / "unet" / "config.json", XL | changes)
    assert sentence in refusal(xl_folder)


def test_a_refiner_is_called_by_its_name(xl_folder):
    """Given a refiner, which has the second text encoder alone, when looked at, then it is refused by its name."""
    write_json(xl_folder / "model_index.json", {"_class_name": "StableDiffusionXLImg2ImgPipeline"})
    (xl_folder / "text_encoder" / "config.json").unlink()
    assert "is a Stable Diffusion XL refiner model" in refusal(xl_folder)


@pytest.mark.parametrize(
    ("pipeline", "name"),
    [("FluxPipeline", "Flux"), ("StableDiffusion3Pipeline", "Stable Diffusion 3"), ("ZImagePipeline", "Z-Image")],
)
def test_another_family_is_called_by_its_name(folder, pipeline, name):
    """Given the pipeline of a family that is not drawn here, when looked at, then the refusal names it."""
    write_json(folder / "model_index.json", {"_class_name": pipeline})
    assert f"{name} model" in refusal(folder)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda folder: (folder / "model_index.json").unlink(), "has no model_index.json: fetch the whole model again"),
        (lambda folder: write_json(folder / "unet" / "config.json", "{"), "has a broken unet/config.json: fetch it"),
        (lambda folder: write_json(folder / "unet" / "config.json", "[]"), "has a broken unet/config.json"),
        (lambda folder: (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(
            folder / "unet" / "diffusion_pytorch_model.bin"
        ), "has no safetensors weights of unet but diffusion_pytorch_model.bin; only these are read: get"),
        (lambda folder: (folder / "text_encoder" / "model.safetensors").unlink(),
         "has no safetensors weights of text_encoder; only these are read"),
        (lambda folder: (folder / "vae").rename(folder / "VAE"), "has no folder vae"),
    ],
    ids=["no index", "broken config", "a list", "pickled", "no weights", "no part"],
)  # fmt: skip
def test_what_a_folder_lacks_is_said(folder, spoil, sentence):
    """Given a folder without one of its parts, when looked at, then the refusal says which, and what to do."""
    spoil(folder)
    assert sentence in refusal(folder)


def test_a_folder_one_too_deep_is_said(folder):
    """Given the model one folder deeper, when that folder is checked, then the sentence says where it lies."""
    with pytest.raises(NotUsable, match=r"has no model_index.json, it lies one folder deeper, in a model: move"):
        check_folder(folder.parent, "sd1", FAMILY_FACTS["sd1"])


@pytest.mark.parametrize(("variant", "mark"), [(None, ""), ("fp16", ".fp16")])
def test_shards_are_one_part(folder, variant, mark):
    """Given a part in shards with an index, when looked for, then all of them are its weights; one missing is named."""
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    shards = [f"diffusion_pytorch_model{mark}-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = folder / "unet" / f"diffusion_pytorch_model.safetensors.index{mark}.json"
    write_json(index, {"weight_map": {"a": shards[0], "b": shards[1], "c": shards[0]}})
    assert shards[0] in refusal(folder)
    for shard in shards:
        (folder / "unet" / shard).touch()
    assert refusal(folder) == ""
    assert require_weights(folder, "unet") == variant
    assert [file.name for file in weights_files(folder, "unet")] == shards
    write_json(index, {"weight_map": 5})
    assert "broken unet/diffusion_pytorch_model.safetensors.index" in refusal(folder)
