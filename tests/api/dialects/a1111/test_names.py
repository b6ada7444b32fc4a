"""A1111's names of samplers, schedules and models."""

import pytest

from api.dialects.a1111.names import (
    checkpoint_entry,
    find_checkpoint,
    sampler_list,
    scheduler_list,
    split_name,
    title_of,
    wire_sampler,
)
from shared.catalogue.models import load_catalogue
from shared.catalogue.samplers import SAMPLERS, canonical_name
from shared.errors import InvalidRequest, NotFound

CATALOGUE = load_catalogue("demo")
OWN_SCHEDULE = (None, "", "automatic", "Automatic", "normal", "simple", "Simple", "uniform", "ddim", "DDIM")


@pytest.mark.parametrize(
    ("sampler", "scheduler", "ours"),
    [
        ("Euler a", None, "k_euler_a"),
        ("euler A", "automatic", "k_euler_a"),
        ("DPM++ 2M", "Karras", "k_dpmpp_2m_ka"),
        ("DPM++ 2M", "karras", "k_dpmpp_2m_ka"),
        ("DPM++ 2M Karras", None, "k_dpmpp_2m_ka"),
        ("DPM++ 2M Karras", "normal", "k_dpmpp_2m_ka"),
        ("DPM++ 2M Karras", "KARRAS", "k_dpmpp_2m_ka"),
        ("DPM++ 2M", "Automatic", "k_dpmpp_2m"),
        ("DDIM", "ddim", "ddim"),
        ("k_dpmpp_2m", "karras", "k_dpmpp_2m_ka"),
        ("k_euler_ancestral", None, "k_euler_a"),
    ],
)
def test_joint_and_split_names_are_one_sampler(sampler, scheduler, ours):
    """Given a sampler and its schedule, joint or split, in any case, when resolved, then it is the one of our table."""
    assert wire_sampler(sampler, scheduler) == ours


@pytest.mark.parametrize("scheduler", OWN_SCHEDULE)
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_is_found_by_its_names(name, scheduler):
    """Given each sampler's label and name, when sent with a word for its own schedule, then it is that sampler."""
    assert wire_sampler(SAMPLERS[name].label, scheduler) == name
    assert wire_sampler(name, scheduler) == name


@pytest.mark.parametrize("name", SAMPLERS)
def test_names_go_there_and_back(name):
    """Given a sampler, when split into A1111's two names, then these stand for it again."""
    assert wire_sampler(*split_name(name)) == name


def test_a_foreign_sampler_is_what_clients_look_for():
    """Given a sampler that is not here, when resolved, then NotFound has the sentence that clients test for."""
    with pytest.raises(NotFound, match=r"^Sampler not found$") as wrong:
        wire_sampler("UniPC", None)
    assert "DPM++ 2M" in wrong.value.fields["sampler_name"][0]


@pytest.mark.parametrize(("sampler", "scheduler"), [("Euler", "exponential"), ("Euler", "Karras"), ("DDIM", "karras")])
def test_a_schedule_that_is_not_here_is_refused_by_name(sampler, scheduler):
    """Given a schedule that is not here, or not with this sampler, when resolved, then InvalidRequest names it."""
    with pytest.raises(InvalidRequest) as wrong:
        wire_sampler(sampler, scheduler)
    assert "scheduler" in wrong.value.fields


def test_lists_have_what_can_be_sent():
    """Given the lists of samplers and schedules, when their names and aliases are sent, then they are understood."""
    listed = sampler_list()
    assert {"Euler", "Euler a", "LMS", "Heun", "DPM2", "DPM2 a", "DPM++ 2S a", "DPM++ 2M", "DPM++ SDE", "DPM fast"} < {
        each["name"] for each in listed
    }
    for each in listed:
        for alias in each["aliases"]:
            assert wire_sampler(each["name"], None) == canonical_name(alias)
    for each in scheduler_list():
        assert wire_sampler("DPM++ 2M", each["name"]) == wire_sampler("DPM++ 2M", each["label"])


@pytest.mark.parametrize(
    "text",
    ["sd15", "SD15", " sd15 ", "sd15.safetensors", "sd15 [e3b0c44298]", "v1-5-pruned-emaonly.safetensors [6ce0161689]",
     "V1-5-Pruned-EmaOnly", "Stable Diffusion 1.5", "sd1.5"],
)  # fmt: skip
def test_a_model_is_found_by_whatever_clients_call_it(text):
    """Given a title, name, alias or file name, in any case, with or without a hash, when looked for, then found."""
    model = find_checkpoint(CATALOGUE, text)
    assert model is not None
    assert model.name == "sd15"


@pytest.mark.parametrize("text", ["", "nothing", "[6ce0161689]", "sd15x"])
def test_a_foreign_model_is_none(text):
    """Given a text that names no model, when looked for, then there is none."""
    assert find_checkpoint(CATALOGUE, text) is None


def test_every_title_finds_its_model():
    """Given the entries of the list, when their texts are looked for, then each leads to its model."""
    for model in CATALOGUE:
        entry = checkpoint_entry(model)
        assert {find_checkpoint(CATALOGUE, entry[key]) for key in ("title", "model_name", "filename")} == {model}
        assert entry["title"] == title_of(model)
