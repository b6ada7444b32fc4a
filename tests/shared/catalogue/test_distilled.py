"""Distilled models: how they are recognised, what they are drawn with, and what is known to be poor for them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from shared.catalogue.distilled import USUAL, Defaults, distillation_named, steps_named
from shared.catalogue.entries import load_catalogue
from shared.catalogue.facts_cache import FactsCache
from shared.catalogue.fitness import about_guidance, about_sampler, about_steps
from shared.catalogue.folder import recognise_folder
from shared.catalogue.found_models import contents_of
from shared.catalogue.models import Model
from shared.catalogue.scan import Root, scan
from tests.shared.catalogue.small_files import checkpoint, entry, write

TURBO = Defaults(4, 1.0, "k_euler", "sgm_uniform")


def found_in(folder: Path, entries: dict[str, Model] | None = None) -> Model:
    """The only model in a folder, beside entries whose files are not there."""
    contents = contents_of(entries or {}, scan([Root(folder, "MODELS_DIR")], FactsCache(None)), folder)
    (model,) = (each for each in contents.models.values() if each.path)
    return model


@pytest.mark.parametrize(
    ("name", "kind", "steps"),
    [
        ("sd_turbo", "turbo", 0),
        ("sd_xl_turbo_1.0_fp16", "turbo", 0),
        ("dreamshaperXL_v21TurboDPMSDE", "turbo", 0),
        ("sdxl_lightning_4step", "lightning", 4),
        ("RealVisXL V5.0 Lightning", "lightning", 0),
        ("Hyper-SDXL-8steps", "hyper", 8),
        ("HyperSD15", "hyper", 0),
        ("realistic vision hyper 2 step", "hyper", 2),
        ("LCM_Dreamshaper_v7_4k", "lcm", 0),
        ("dmd2_sdxl_4step_unet", "dmd", 4),
        ("HyperRealistic_v3", "", 0),
        ("v1-5-pruned", "", 0),
        ("turbocharged", "", 0),
        ("0steps", "", 0),
    ],
)
def test_a_name_tells_the_kind(name: str, kind: str, steps: int) -> None:
    """Given names as files have them, when looked at, then kind and steps are what the words say, and no part of a word
    says anything."""
    assert (distillation_named(name), steps_named(name)) == (kind, steps)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_file_is_drawn_as_its_name_says(family: str, tmp_path: Path) -> None:
    """Given a file with a telling name, when found, then it has its kind's defaults, and the steps of its name."""
    write(tmp_path / "my_lightning_8step.safetensors", checkpoint(family))
    model = found_in(tmp_path)
    assert (model.distilled, model.defaults) == ("lightning", replace(TURBO, steps=8))
    assert about_steps(model, "k_euler", 4) == (
        "ddim_steps: the model 'my_lightning_8step' wants about 8 steps; with 4 images may be poor.",
    )


def test_a_file_s_title_goes_before_its_name(tmp_path: Path) -> None:
    """Given metadata with a title, when found, then that tells the kind."""
    write(tmp_path / "lcm.safetensors", checkpoint("sdxl"), metadata={"modelspec.title": "SDXL Turbo"})
    assert found_in(tmp_path).distilled == "turbo"


def test_a_file_that_takes_guidance_as_an_input_is_an_lcm(tmp_path: Path) -> None:
    """Given the weight that reads the guidance scale, when found, then it is an LCM with a scale of its own."""
    told = {"model.diffusion_model.time_embed.cond_proj.weight": (4, 8)}
    write(tmp_path / "plain.safetensors", checkpoint("sd1") | told)
    model = found_in(tmp_path)
    assert (model.distilled, model.told_guidance) == ("lcm", True)
    assert model.defaults == Defaults(4, 8.5, "lcm", "automatic")
    assert about_guidance(model, 4.0) == ()


@pytest.mark.parametrize(
    ("scheduler", "unet", "kind"),
    [
        ({"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing"}, {}, "turbo"),
        ({"_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing"}, {}, "turbo"),
        ({"_class_name": "LCMScheduler"}, {}, "lcm"),
        ({"_class_name": "TCDScheduler"}, {}, "tcd"),
        ({"_class_name": "PNDMScheduler"}, {"time_cond_proj_dim": 256}, "lcm"),
        ({"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"}, {}, ""),
        (
            {
                "_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing",
                "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
            },
            {},
            "",
        ),
    ],
)  # fmt: skip
def test_a_folder_s_configs_tell_the_kind(
    scheduler: dict[str, object], unet: dict[str, object], kind: str, tmp_path: Path
) -> None:
    """Given a folder, when looked at, then its scheduler or its UNet tells; zero terminal SNR is no distillation."""
    for part, name, content in (
        ("", "model_index.json", {"_class_name": "StableDiffusionPipeline"}),
        ("scheduler", "scheduler_config.json", scheduler),
        ("unet", "config.json", unet),
        ("vae", "config.json", {}),
        ("text_encoder", "config.json", {}),
    ):
        (tmp_path / part).mkdir(exist_ok=True)
        (tmp_path / part / name).write_text(json.dumps(content))
    for part in ("unet", "vae", "text_encoder"):
        (tmp_path / part / "model.safetensors").write_bytes(b"")
    facts = recognise_folder(tmp_path)
    assert (facts.refusal, facts.distilled) == ("", kind)


@pytest.mark.parametrize(
    ("text", "kind", "defaults"),
    [
        ("", "turbo", TURBO),
        ('distilled = "none"', "", USUAL),
        ('distilled = "lcm"', "lcm", Defaults(4, 1.0, "lcm", "automatic")),
        ("steps = 7\nscale = 2", "turbo", replace(TURBO, steps=7, scale=2.0)),
        ('sampler = "dpm2s_a"\nschedule = "karras"', "turbo", Defaults(4, 1.0, "k_dpmpp_2s_a", "karras")),
        ('sampler = "k_dpmpp_sde_ka"', "turbo", Defaults(4, 1.0, "k_dpmpp_sde_ka", "automatic")),
        ('distilled = "none"\nsteps = 30', "", replace(USUAL, steps=30)),
    ],
)
def test_an_entry_goes_before_what_was_found(text: str, kind: str, defaults: Defaults, tmp_path: Path) -> None:
    """Given an entry for a file with a telling name, when it says otherwise, then that counts."""
    write(tmp_path / "my_turbo.safetensors", checkpoint("sd1"))
    model = found_in(tmp_path, entry(tmp_path, text))
    assert (model.distilled, model.defaults) == (kind, defaults)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('distilled = "fast"', "distilled must be one of turbo"),
        ("steps = 0", "steps must be a whole number from 1 to 999"),
        ("steps = 2.5", "steps must be a whole number"),
        ("scale = true", "scale must be a number from -50 to 50"),
        ('sampler = "euler"', "sampler must be one of"),
        ('sampler = "lcm"\nschedule = "karras"', "schedule must be one that the sampler lcm can"),
    ],
)
def test_a_wrong_default_is_named(text: str, wrong: str, tmp_path: Path) -> None:
    """Given an entry with a default that cannot be, when read, then the message names entry and key."""
    with pytest.raises(ValueError, match=rf"models.toml: \[mine\] {wrong}"):
        entry(tmp_path, text)


def test_poor_choices_are_told_by_the_field(tmp_path: Path) -> None:
    """Given a distilled model and another, when a choice is known to be poor for it, then the sentence names the field;
    of others nothing is said."""
    write(tmp_path / "my_turbo.safetensors", checkpoint("sd1"))
    turbo, plain = found_in(tmp_path), load_catalogue("demo").default
    said = {
        about_sampler(turbo, "plms"): "sampler: plms wants about 100 steps, and the model 'my_turbo' is made for 4",
        about_sampler(turbo, "k_dpm_ad"): "sampler: k_dpm_ad chooses its own steps",
        about_sampler(plain, "lcm"): "sampler: lcm is for distilled models, and the model 'demo' is none",
        about_steps(turbo, "k_euler", 20): "ddim_steps: the model 'my_turbo' is made for 4 steps; 20 take longer",
        about_steps(plain, "plms", 20): "ddim_steps: the sampler plms wants about 100 steps; with 20",
        about_steps(plain, "ddim", 19): "ddim_steps: the sampler ddim wants about 20 steps; with 19",
        about_steps(replace(plain, steps=8), "ddim", 7): "ddim_steps: the sampler ddim wants about 8 steps; with 7",
        about_steps(replace(plain, steps=8), "k_heun", 8): "ddim_steps: the sampler k_heun wants about 20 steps",
        about_guidance(turbo, 7.5): "scale: the model 'my_turbo' is distilled and made for 1, no guidance; with 7.5",
    }
    for sentences, begin in said.items():
        (sentence,) = sentences
        assert sentence.startswith(begin)
    fine = (
        about_sampler(turbo, "lcm"), about_sampler(plain, "plms"), about_steps(turbo, "plms", 1),
        about_steps(plain, "ddim", 20), about_steps(plain, "k_dpm_ad", 1), about_steps(plain, "lcm", 1),
        about_steps(replace(plain, steps=8), "ddim", 8), about_steps(replace(plain, sampler="plms"), "plms", 20),
        about_guidance(turbo, 1.0), about_guidance(plain, 7.5),
        about_guidance(replace(turbo, scale=2.0), 1.5),
    )  # fmt: skip
    assert not any(fine)
