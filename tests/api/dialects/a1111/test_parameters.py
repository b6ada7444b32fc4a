"""A1111's bodies as fields of the one schema: the same parameters give the same request as the native dialect's."""

from dataclasses import replace
from pathlib import Path

import pytest

from api.dialects.a1111.parameters import (
    A1111_NAMES,
    LEAST_STRENGTH,
    echo,
    size_asked,
    strength_fields,
    translated,
)
from api.submission.submit import renamed
from shared.catalogue.entries import load_catalogue
from shared.catalogue.models import Catalogue, OtherFile
from shared.errors import InvalidRequest, NotFound
from shared.request.intake import load_request
from shared.request.limits import Limits
from shared.request.schemas import GenerateSchema, Img2ImgSchema

CATALOGUE = load_catalogue("demo")
LIMITS = Limits(CATALOGUE, Path("prompts"), 16_000_000, 10_000, 64, 10**12)
SCHEMA = GenerateSchema(LIMITS)


def fields(**body):
    return dict(translated({"prompt": "a cat"} | body, CATALOGUE, CATALOGUE.default).fields)


def refusal(**body):
    with pytest.raises((InvalidRequest, NotFound)) as wrong:
        fields(**body)
    return wrong.value.fields


def request(**body):
    return load_request(SCHEMA, fields(**body))[0]


def test_the_same_parameters_are_the_same_request():
    """Given parameters in A1111's names and in ours, when both are read, then the requests are equal."""
    theirs = request(
        negative_prompt="a dog", steps=12, cfg_scale=5.5, sampler_name="DPM++ 2M", scheduler="Karras", seed=7,
        batch_size=2, n_iter=3, width=256, height=128, eta=0, override_settings={"sd_model_checkpoint": "SD15"},
        save_images=True,
    )  # fmt: skip
    ours, _ = load_request(
        SCHEMA,
        {
            "prompt": "a cat", "negative_prompt": "a dog", "ddim_steps": 12, "scale": 5.5, "sampler": "k_dpmpp_2m_ka",
            "seed": 7, "n_samples": 2, "n_iter": 3, "W": 256, "H": 128, "ckpt": "sd15",
        },
    )  # fmt: skip
    assert theirs == ours


def test_what_is_left_out_has_our_default():
    """Given a prompt alone, when read, then everything else is as the native dialect has it, but nothing is kept."""
    theirs, (ours, _) = request(seed=1), load_request(SCHEMA, {"prompt": "a cat", "seed": 1, "skip_save": True})
    assert theirs == ours


@pytest.mark.parametrize("seed", [-1, None, "", "-1"])
def test_no_seed_is_a_random_one(seed):
    """Given what A1111's clients send for a random seed, when read twice, then the seeds differ."""
    assert request(seed=seed).seed != request(seed=seed).seed


def test_a_size_that_the_model_cannot_draw_is_resized_to():
    """Given 1024x1024 for a model that draws 512, when read, then it draws 512x512, delivers 1024x1024, and says so."""
    asked = request(width=1024, height=1024)
    assert (asked.params.width, asked.params.height, asked.result_size) == (512, 512, (1024, 1024))
    assert "1024x1024" in asked.warnings[0]


@pytest.mark.parametrize(("width", "height"), [(0, 0), ("banana", 64), (-8, 64), (64, True)])
def test_a_size_that_is_none_is_refused(width, height):
    """Given a size that is none, when read by the schema, then a field is named that has a name in A1111."""
    with pytest.raises(InvalidRequest) as wrong:
        request(width=width, height=height)
    assert {A1111_NAMES[name] for name in wrong.value.fields} <= {"width", "height"}


def test_numbers_may_come_as_text():
    """Given numbers as a form sends them, when read, then they are numbers."""
    asked = request(steps="12", cfg_scale="5.5", width="64", height="128", seed="9")
    assert (asked.params.steps, asked.params.guidance_scale, asked.seed) == (12, 5.5, 9)
    assert asked.result_size == (64, 128)


def test_sampler_index_stands_in_for_sampler_name():
    """Given an older client's field, when no newer one is there, then it names the sampler."""
    assert fields(sampler_index="DPM++ 2M Karras")["sampler"] == "k_dpmpp_2m_ka"
    assert fields(sampler_index="Heun", sampler_name="Euler a")["sampler"] == "k_euler_a"
    assert fields(sampler_index="Heun", sampler_name="")["sampler"] == "k_heun"
    assert set(refusal(sampler_name="Restart")) == {"sampler_name"}


def test_eta_counts_where_a_sampler_has_one():
    """Given the eta that clients always send, then it reaches ddim alone; one that would do something is told."""
    assert fields(sampler_name="DDIM", eta=1.0)["ddim_eta"] == 1.0
    for eta in (None, 0, 1.0):
        asked = translated({"prompt": "", "sampler_name": "Euler a", "eta": eta}, CATALOGUE, CATALOGUE.default)
        assert "ddim_eta" not in asked.fields
        assert asked.warnings == ()
    told = translated({"prompt": "", "sampler_name": "Euler a", "eta": 0.5}, CATALOGUE, CATALOGUE.default).warnings
    assert told == ("eta: has no effect on Euler a here.",)


def test_a_model_is_that_of_the_request_or_of_the_key():
    """Given a chosen model, when the request names another in whatever way, then that one counts; else the chosen."""
    chosen = CATALOGUE.find("sd21")
    assert chosen
    for settings, model in (
        ({}, "sd21"),
        (None, "sd21"),
        ({"sd_model_checkpoint": ""}, "sd21"),
        ({"sd_model_checkpoint": "V1-5-pruned.safetensors [abc123]"}, "sd15"),
    ):
        asked = translated({"prompt": "", "override_settings": settings}, CATALOGUE, chosen)
        assert asked.fields["ckpt"] == model
    assert set(refusal(override_settings={"sd_model_checkpoint": "nothing"})) == {
        "override_settings.sd_model_checkpoint"
    }
    assert set(refusal(override_settings=[1])) == {"override_settings"}
    assert set(refusal(override_settings=["x"], infotext="a\nSteps: 1, Seed: 2, Size: 8x8")) == {"override_settings"}


def test_settings_without_effect_are_told():
    """Given settings that say how A1111 works, when read, then the request is good and names them."""
    settings = {"samples_save": False, "live_previews_enable": True, "CLIP_stop_at_last_layers": 1}
    asked = translated({"prompt": "", "override_settings": settings}, CATALOGUE, CATALOGUE.default)
    assert asked.warnings == ("override_settings: live_previews_enable, samples_save have no effect here.",)


@pytest.mark.parametrize(("sent", "used"), [(None, 1), (0, 1), (1.0, 1), (2, 2), ("3", 3)])
def test_layers_of_clip_are_skipped_as_a1111_counts(sent, used):
    """Given the setting for it, when read, then it is clip_skip, of which 0 and 1 skip none."""
    assert request(override_settings={"CLIP_stop_at_last_layers": sent}).params.clip_skip == used


def test_a_vae_and_tiling_are_those_of_the_request():
    """Given a VAE in the settings and tiling, when read, then they are ours; Automatic and None are the model's own,
    and one that is not here is refused under the setting's name."""
    vae = OtherFile(
        "soft", "vae", "", "MODELS_DIR/VAE/soft.pt", 7, "is a VAE", channels=4, aliases=("soft.pt",)
    )  # fmt: skip
    catalogue = Catalogue(CATALOGUE.contents().models, "sd15", (vae,))
    schema = GenerateSchema(replace(LIMITS, catalogue=catalogue))

    def params(**body):
        asked = translated({"prompt": "a cat"} | body, catalogue, catalogue.default)
        return load_request(schema, asked.fields)[0].params

    assert params(override_settings={"sd_vae": "soft.pt"}, tiling=True) == replace(params(), vae="soft", tiling=True)
    for none in ("Automatic", "None", "", None):
        assert params(override_settings={"sd_vae": none}, tiling="false") == params()
    with pytest.raises(InvalidRequest) as wrong:
        params(override_settings={"sd_vae": "sofd.pt"})
    assert wrong.value.fields == {"vae": ["No VAE is called 'sofd.pt'; like it are: soft."]}
    assert A1111_NAMES["vae"] == "override_settings.sd_vae"


def test_a_missing_prompt_is_named_and_an_empty_one_is_none():
    """Given no prompt or null, when read, then it is named; an empty text is a prompt."""
    assert set(refusal(prompt=None)) == {"prompt"}
    assert request(prompt="").prompts == ("",)


def test_everything_that_is_not_done_is_named_at_once():
    """Given several of A1111's features, when read, then all of them are named."""
    body = {"restore_faces": True, "latent_mask": "x", "alwayson_scripts": {"Roop": {"args": [{"model": "canny"}]}}}
    assert set(refusal(**body, override_settings={"s_churn": 2})) == {
        "restore_faces", "latent_mask", "alwayson_scripts.Roop", "override_settings.s_churn",
    }  # fmt: skip


def test_unknown_fields_are_nothing():
    """Given fields of forks and extensions, when read, then they do not count."""
    assert fields(distilled_cfg_scale=3.5, uniqueDocumentId="x", auth="a:b", url="http://x") == fields()


@pytest.mark.parametrize(
    ("sent", "used"), [(None, 0.75), ("", 0.75), (0, LEAST_STRENGTH), (0.0, LEAST_STRENGTH), (0.3, 0.3), ("0.3", 0.3)]
)
def test_strength_is_what_a1111_means(sent, used):
    """Given null, then 0.75; given 0, then what leaves the last step alone; given a number, then that."""
    assert strength_fields({"denoising_strength": sent}) == {"denoising_strength": used}
    assert Img2ImgSchema(LIMITS).fields["strength"].deserialize(used) == used


def test_an_infotext_fills_in_what_the_body_leaves_out():
    """Given an infotext and a field, when read, then the field counts, and the infotext for all others."""
    text = (
        "a red star\nNegative prompt: a dog\n"
        "Steps: 9, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 4, Seed: 5, Size: 64x128, Model: sd15"
    )
    asked, _ = load_request(SCHEMA, translated({"infotext": text, "steps": 3}, CATALOGUE, CATALOGUE.default).fields)
    assert (asked.prompts, asked.params.negative_prompt, asked.seed) == (("a red star",), "a dog", 5)
    assert (asked.params.steps, asked.params.sampler, asked.params.model) == (3, "k_dpmpp_2m_ka", "sd15")
    assert asked.result_size == (64, 128)


def test_the_echo_holds_no_secret_and_no_image():
    """Given a body with a password, keys and images, when echoed, then its parameters alone are there."""
    secrets = {
        "script_args": ["i"],
        "auth": "me:secret",
        "url": "http://x",
        "api_key": "k",
        "init_images": ["i"],
        "mask": "m",
    }
    assert echo({"prompt": "a cat", "steps": 3} | secrets) == {"prompt": "a cat", "steps": 3}


def test_a_size_asked_is_two_numbers():
    """Given sides, when both are sizes, then they are the size; else there is none."""
    assert size_asked({"width": 64, "height": "128"}) == (64, 128)
    for sides in ({}, {"width": 64}, {"width": 64, "height": 0}, {"width": "x", "height": 64}):
        assert size_asked(sides) is None


TURBO = replace(CATALOGUE.default, name="fast", aliases=(), distilled="turbo")
WITH_TURBO = Catalogue({"demo": CATALOGUE.default, "fast": TURBO}, "demo")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (4, 1.0, "k_euler", "sgm_uniform")),
        ({"scheduler": "Automatic"}, (4, 1.0, "k_euler", "sgm_uniform")),
        ({"scheduler": "Karras"}, (4, 1.0, "k_euler", "karras")),
        ({"sampler_name": "DDIM"}, (4, 1.0, "ddim", "sgm_uniform")),
        ({"sampler_name": "DPM++ SDE Karras", "steps": 6}, (6, 1.0, "k_dpmpp_sde_ka", "automatic")),
        ({"steps": 20, "cfg_scale": 7}, (20, 7.0, "k_euler", "sgm_uniform")),
    ],
)
def test_a_distilled_model_s_own_defaults_are_taken(body, expected):
    """Given a body for a Turbo model, when it leaves something out, then that is the model's own."""
    asked = translated({"prompt": "a cat"} | body, WITH_TURBO, TURBO).fields
    params = load_request(GenerateSchema(replace(LIMITS, catalogue=WITH_TURBO)), asked)[0].params
    assert (params.steps, params.guidance_scale, params.sampler, params.schedule) == expected


def test_tags_of_loras_are_always_read():
    """Given a prompt with a tag, when read, then it asks for a LoRA, unless the body turns them off; a refusal is about
    the prompt, the field that the client knows."""
    with pytest.raises(InvalidRequest) as wrong:
        request(prompt="a cat <lora:nothing:1><lora:a:x>")
    told = renamed(wrong.value, A1111_NAMES)
    assert sorted(told.fields) == ["prompt"]
    assert {text.partition("'")[0] for text in told.fields["prompt"]} == {"No LoRA is called ", "<lora:a:x>: "}
    off = request(prompt="a cat <lora:nothing:1>", disable_extra_networks=True)
    assert off.prompts == ("a cat <lora:nothing:1>",)
