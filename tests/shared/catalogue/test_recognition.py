"""What a file is, told by its header alone."""

import json

import pytest

from shared.catalogue.recognition import objection, recognise, yaml_beside
from shared.catalogue.tensors import Header, StoredTensor
from shared.catalogue.weights_file import read_header
from tests.shared.catalogue import small_files
from tests.shared.catalogue.small_files import ONE, UNET, checkpoint, write

HALF = {f"{UNET}input_blocks.0.0.weight": (4, 4, 3, 3)}
CONTEXT = f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"


def facts_of(tmp_path, tensors, **more):
    file = write(tmp_path / "a model.safetensors", tensors, **more)
    return recognise(read_header(file), yaml_beside(file))


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "sdxl-refiner"])
def test_a_whole_checkpoint_is_known_by_its_keys(tmp_path, family):
    """Given a whole checkpoint, when looked at, then its family, its type of numbers and its channels are known."""
    facts = facts_of(tmp_path, checkpoint(family))
    assert (facts.kind, facts.family, facts.channels, facts.dtype, facts.lacks) == (
        "checkpoint", family, 4, "float16", (),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("tensors", "kind", "family", "sentence"),
    [
        (small_files.LORA, "lora", "", "is a LoRA"),
        ({"lora_unet_x_attn2_to_k.lora_down.weight": (4, 2048)}, "lora", "sdxl", "is a LoRA"),
        ({"unet.down.attn2.to_k.lora_A.weight": (4, 768)}, "lora", "sd1", "is a LoRA"),
        (small_files.VAE, "vae", "", "is a VAE"),
        ({"first_stage_model.decoder.conv_in.weight": (4, 4, 3, 3)}, "vae", "", "is a VAE"),
        ({"decoder.layers.0.weight": (4, 4, 3, 3)}, "tiny-vae", "", "is a tiny VAE"),
        (small_files.EMBEDDING, "embedding", "sd1", "is a textual inversion"),
        ({"clip_g": (2, 1280), "clip_l": (2, 768)}, "embedding", "sdxl", "is a textual inversion"),
        ({"text_encoders_0": (2, 768), "text_encoders_1": (2, 1280)}, "embedding", "sdxl", "is a textual inversion"),
        ({"<cat>": (1, 1024)}, "embedding", "sd2", "is a textual inversion"),
        (small_files.CONTROLNET, "controlnet", "", "is a ControlNet"),
        (small_files.UPSCALER, "upscaler", "", "enlarges images"),
        ({"text_model.encoder.layers.0.mlp.fc1.weight": ONE}, "text-encoder", "", "is a text encoder"),
        ({"down_blocks.0.resnets.0.conv1.weight": ONE}, "other", "", "is the UNet of a diffusers folder"),
        ({f"{UNET}joint_blocks.0.x.weight": ONE}, "checkpoint", "sd3", "is a Stable Diffusion 3 model"),
        ({"double_blocks.0.img_mod.lin.weight": ONE}, "checkpoint", "flux", "is a Flux model"),
        ({"cap_embedder.1.weight": ONE}, "checkpoint", "lumina", "is a Lumina or Z-Image model"),
        ({"layer1.weight": ONE, "layer2.weight": ONE}, "other", "", "holds no Stable Diffusion"),
        ({}, "other", "", "holds no Stable Diffusion"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_other_kinds_are_called_by_their_name(tmp_path, tensors, kind, family, sentence):
    """Given a file of another kind, when looked at, then it says what it is, and what to put in its place."""
    facts = facts_of(tmp_path, tensors)
    assert (facts.kind, facts.family) == (kind, family)
    assert facts.sentence.startswith(sentence)
    assert objection(facts) == f"{facts.sentence}; put a whole checkpoint of Stable Diffusion 1.x or " + (
        "Stable Diffusion 2.x or Stable Diffusion XL in its place"
    )


def test_a_stray_tensor_does_not_make_it_another_kind(tmp_path):
    """Given a whole checkpoint with a tensor of a LoRA in it, when looked at, then it is a checkpoint."""
    facts = facts_of(tmp_path, checkpoint("sd1") | {"lora_te_x.alpha": ()})
    assert (facts.kind, objection(facts)) == ("checkpoint", None)


@pytest.mark.parametrize("prefix", [UNET, ""])
@pytest.mark.parametrize(("width", "family"), [(768, "sd1"), (1024, "sd2"), (2048, "sdxl")])
def test_a_denoiser_alone_is_known_by_the_text_it_takes(tmp_path, prefix, width, family):
    """Given a UNet without VAE and text encoder, when looked at, then family and what it lacks are known."""
    names = {name.replace(UNET, prefix): shape for name, shape in (HALF | {CONTEXT: (4, width)}).items()}
    facts = facts_of(tmp_path, names)
    assert (facts.kind, facts.family, facts.channels, facts.text_width) == ("denoiser", family, 4, width)
    assert facts.lacks == ("VAE", "text encoder")


def test_text_names_of_the_other_family_mislead_nobody(tmp_path):
    """Given a 2.x checkpoint whose text encoder has the names of transformers, when looked at, then it is 2.x."""
    linear = {f"{UNET}input_blocks.1.1.proj_in.weight": (4, 4)}
    assert facts_of(tmp_path, checkpoint("sd1") | linear).family == "sd2"


def test_other_kinds_of_models_are_told_by_their_channels(tmp_path):
    """Given five input channels, when looked at, then the objection names them; nine, of inpainting, are none."""
    said = objection(facts_of(tmp_path, checkpoint("sd1", channels=5)))
    assert said is not None
    assert "5 input channels" in said
    assert objection(facts_of(tmp_path, checkpoint("sd1", channels=9))) is None


def test_an_entry_s_family_is_compared(tmp_path):
    """Given a 2.x file, when an entry claims 1.x for it, then the objection names both and says what to write."""
    facts = facts_of(tmp_path, checkpoint("sd2"))
    assert objection(facts, "sd1") == ('is of the family sd2, but the entry says sd1: put family = "sd2" into it')
    assert objection(facts, "sd2") is None


@pytest.mark.parametrize(
    ("more", "metadata", "beside", "prediction", "zero_snr"),
    [
        ({}, {}, "", "", False),
        ({"v_pred": (0,)}, {}, "", "v_prediction", False),
        ({"v_pred": (0,), "ztsnr": (0,)}, {}, "", "v_prediction", True),
        ({}, {"modelspec.prediction_type": "v"}, "", "v_prediction", False),
        ({}, {"modelspec.prediction_type": "epsilon"}, "", "epsilon", False),
        ({}, {"modelspec.architecture": "stable-diffusion-v2-768-v"}, "", "v_prediction", False),
        ({}, {"ss_v_parameterization": "True", "ss_zero_terminal_snr": "True"}, "", "v_prediction", True),
        ({}, {"modelspec.prediction_type": "epsilon"}, 'model:\n  params:\n    parameterization: "v"\n',
         "v_prediction", False),
        ({}, {}, "model:\n  params:\n    linear_start: 0.00085\n", "", False),
    ],
)  # fmt: skip
def test_what_it_predicts_is_said_by_keys_metadata_or_the_yaml(tmp_path, more, metadata, beside, prediction, zero_snr):
    """Given marks of v-prediction and zero terminal SNR, when looked at, then they are known."""
    if beside:
        (tmp_path / "a model.yaml").write_text(beside)
    facts = facts_of(tmp_path, checkpoint("sd1") | more, metadata=metadata)
    assert (facts.prediction, facts.zero_snr) == (prediction, zero_snr)


def test_the_metadata_give_title_and_size(tmp_path):
    """Given a file that names itself, when looked at, then title and native size are its own, where they can be."""
    facts = facts_of(
        tmp_path, checkpoint("sd1"), metadata={"modelspec.title": "Mine", "modelspec.resolution": "768x768"}
    )
    assert (facts.title, facts.native_size) == ("Mine", 768)
    assert facts_of(tmp_path, checkpoint("sd1"), metadata={"modelspec.resolution": "7x100000"}).native_size == 0


def test_long_texts_take_no_time_to_look_through(tmp_path):
    """Given a yaml of nothing but empty lines, and names as long as they may be, when looked at, then it is done."""
    (tmp_path / "a model.yaml").write_text("\n" * 70_000)
    name = "attn2.to_k" * 95
    assert facts_of(tmp_path, checkpoint("sd1") | {f"{name}.{number}": (0,) for number in range(1000)}).family == "sd1"


@pytest.mark.parametrize(
    ("tensors", "channels"),
    [
        (small_files.VAE, 4),
        ({"first_stage_model.decoder.conv_in.weight": (4, 16, 3, 3)}, 16),
        ({"decoder.layers.0.weight": (64, 4, 3, 3)}, 4),
        ({"1.weight": (64, 4, 3, 3), "3.conv.0.weight": (64, 64, 3, 3)}, 4),
        ({"0.weight": (64, 3, 3, 3), "1.conv.0.weight": (64, 64, 3, 3)}, 0),
        (small_files.LORA, 0),
    ],
    ids=["VAE", "of another family", "tiny", "tiny decoder alone", "tiny encoder alone", "LoRA"],
)
def test_which_latents_a_vae_decodes_is_known_from_its_header(tensors, channels):
    """Given a VAE, whole or a part of it, when its header is read, then the channels of its latents are known."""
    assert (
        recognise(Header({name: StoredTensor("float16", shape) for name, shape in tensors.items()})).channels
        == channels
    )


KOHYA_TAGS = {"folder a": {"1girl": 3, "sketch": 9}, "folder b": {"sketch": 2, "ink": 4}}


@pytest.mark.parametrize(
    ("tensors", "metadata", "family"),
    [
        ({"lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (4, 768)}, {}, "sdxl"),
        ({"lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q.lora_down.weight": (4, 640)}, {}, "sdxl"),
        ({"lora_te_text_model_encoder_layers_20_mlp_fc1.lora_down.weight": (4, 1024)}, {}, "sd2"),
        ({"lora_unet_x_attn2_to_v.hada_w1_b": (4, 768)}, {}, "sd1"),
        ({"unet.x.attn2.processor.to_k_lora.down.weight": (4, 1024)}, {}, "sd2"),
        ({"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": (4, 3072)}, {}, "flux"),
        ({"lora_unet_x.lora_up.weight": (4, 1)}, {"ss_base_model_version": "sdxl_base_v1-0"}, "sdxl"),
        ({"lora_unet_x.lora_up.weight": (4, 1)}, {"modelspec.architecture": "stable-diffusion-v1/lora"}, "sd1"),
        ({"lora_unet_x_attn2_to_k.lora_down.weight": (4, 2048)}, {"ss_base_model_version": "sd_v1"}, "sdxl"),
    ],
)
def test_the_family_of_a_lora_comes_from_shapes_and_names_before_metadata(tmp_path, tensors, metadata, family):
    """Given a LoRA of any program, when its header is read, then the family that it changes is known."""
    facts = facts_of(tmp_path, tensors, metadata=metadata)

    assert (facts.kind, facts.family) == ("lora", family)


@pytest.mark.parametrize(
    ("tensors", "width"),
    [
        (checkpoint("sd1") | {CONTEXT: (4, 64)}, 64),
        (checkpoint("sd1"), 0),
        ({"lora_unet_x_attn2_to_k.lora_down.weight": (4, 128), "lora_unet_x_attn2_to_k.lora_up.weight": (32, 4)}, 128),
        ({"lora_unet_x_attn2_to_k.lora_down.weight": (4, 128), "lora_unet_y_attn2_to_k.lora_down.weight": (4, 64)}, 0),
        (small_files.LORA, 0),
        (small_files.CONTROLNET | {"control_model.x.attn2.to_k.weight": (4, 128)}, 128),
        (small_files.CONTROLNET, 0),
    ],
)
def test_the_width_of_the_texts_is_known_from_the_header(tmp_path, tensors, width):
    """Given what reads texts, when its header is read, then it is known how wide these are, where the header tells."""
    assert facts_of(tmp_path, tensors).text_width == width


def test_a_lora_tells_what_calls_for_it(tmp_path):
    """Given what a training wrote into a file, when its header is read, then base, trigger words and the most frequent
    tags of all its folders are known, however long that text is."""
    metadata = {
        "ss_sd_model_name": "v1-5-pruned.safetensors", "modelspec.trigger_phrase": "inksk, line art",
        "ss_tag_frequency": json.dumps(KOHYA_TAGS | {"many": {f"tag {number}": 1 for number in range(500)}}),
    }  # fmt: skip
    facts = facts_of(tmp_path, small_files.LORA, metadata=metadata)

    assert (facts.base, facts.trigger_words) == ("v1-5-pruned.safetensors", ("inksk", "line art"))
    assert facts.tags[:3] == ("sketch", "ink", "1girl")
    assert len(facts.tags) == 20


@pytest.mark.parametrize(
    ("shapes", "vectors"),
    [
        ({"string_to_param.*": (3, 768), "string_to_token": ()}, 3), ({"emb_params": (4, 768)}, 4),
        ({"clip_g": (2, 1280), "clip_l": (2, 768)}, 2), ({"<cat>": (1024,)}, 1), (small_files.VAE, 0),
    ],
)  # fmt: skip
def test_an_embedding_tells_its_vectors(tmp_path, shapes, vectors):
    """Given embeddings in each form, when looked at, then it is known how many places they take in a prompt."""
    assert facts_of(tmp_path, shapes).vectors == vectors
