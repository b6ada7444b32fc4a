"""What has no counterpart here is refused by name, and never ignored where it would change an image."""

import pytest

from api.dialects.a1111.refusals import refused_fields, refused_settings

HARMLESS = {
    "enable_hr": False, "hr_scale": 2, "hr_upscaler": "Latent", "hr_resize_x": 0, "hr_prompt": "",
    "firstphase_width": 0,
    "mask": None, "inpaint_full_res": True, "inpainting_fill": 0, "mask_blur": 4, "restore_faces": False,
    "tiling": False, "subseed": 7, "subseed_strength": 0.0, "seed_resize_from_h": -1, "seed_resize_from_w": 0,
    "s_churn": 0, "s_tmax": 0, "s_tmin": 0, "s_noise": 1, "s_min_uncond": 0.0, "refiner_checkpoint": None,
    "refiner_switch_at": 0.8, "styles": [""], "script_name": None, "script_args": [1],
    "alwayson_scripts": {"ControlNet": {"args": []}, "ADetailer": {"args": [False]}, "animatediff": {"args": [False]}},
}  # fmt: skip


def test_fields_that_change_nothing_are_accepted():
    """Given every field as clients send it that use none of them, then nothing is refused."""
    assert refused_fields(HARMLESS) == {}
    assert refused_fields({}) == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("firstpass_image", "aGVsbG8="), ("latent_mask", "aGVsbG8="), ("inpainting_mask_weight", 0.5),
        ("restore_faces", True),
        ("subseed_strength", 0.5), ("seed_resize_from_h", 512), ("s_churn", 0.1), ("s_noise", 0.9),
        ("s_min_uncond", 1), ("refiner_checkpoint", "sdxl-refiner"), ("styles", ["photo"]), ("script_name", "x/y plot"),
        ("controlnet_units", [{"model": "canny"}]),
    ],
)  # fmt: skip
def test_what_would_change_an_image_is_refused_by_name(field, value):
    """Given a parameter that has no counterpart here, then it alone is named, with a sentence."""
    refused = refused_fields(HARMLESS | {field: value})
    assert list(refused) == [field]
    assert refused[field][0].endswith(".")


@pytest.mark.parametrize(
    "arguments",
    [[True, {"ad_model": "face"}], [{"enabled": True, "model": "canny"}], [{"model": "canny"}], {"on": True}, ["x"]],
)  # fmt: skip
def test_extensions_with_real_arguments_are_refused_by_name(arguments):
    """Given an extension that is asked to do something, then it is named."""
    body = {"alwayson_scripts": {"ADetailer": {"args": [False]}, "Roop": {"args": arguments}}}
    assert list(refused_fields(body)) == ["alwayson_scripts.Roop"]


@pytest.mark.parametrize(
    "arguments",
    [[], None, [False], [False, {"ad_model": "face"}], [{"enabled": False, "model": "canny"}], [None, None], {}],
)  # fmt: skip
def test_extensions_that_are_off_are_nothing(arguments):
    """Given an extension whose arguments ask for nothing, then it is not refused."""
    assert refused_fields({"alwayson_scripts": {"Roop": {"args": arguments}}}) == {}


def test_a_form_may_write_them_as_text():
    """Given values as texts of a form, when they change nothing, then nothing is refused; else they are named."""
    assert (
        refused_fields({"firstpass_image": "false", "s_churn": "0", "s_noise": "1.0", "subseed_strength": "0.0"}) == {}
    )
    assert set(refused_fields({"firstpass_image": "true", "s_churn": "0.5"})) == {"firstpass_image", "s_churn"}


def test_settings_are_refused_under_their_own_name():
    """Given settings, when some would change an image, then these are named with the place they stand in."""
    assert refused_settings({"CLIP_stop_at_last_layers": 1, "sd_hypernetwork": "None", "samples_save": True}, "") == {}
    refused = refused_settings({"s_churn": 2, "sd_hypernetwork": "h.pt"}, "override_settings.")
    assert set(refused) == {"override_settings.s_churn", "override_settings.sd_hypernetwork"}
